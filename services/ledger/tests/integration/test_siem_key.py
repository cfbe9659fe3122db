"""A new key-encryption key of the ledger: every SIEM goes on with its secret, and the old key is needed no more."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import pytest
from tallystick_chassis import rewrapping
from tallystick_chassis.http.key_file import KeyFile
from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_chassis.keystore import KeyWrap
from tallystick_chassis.settings import KeyEncryptionKeys, SecretKey, key_encryption_keys
from tallystick_ledger.app import SERVICE
from tallystick_ledger.siem import commands
from tallystick_ledger.siem.secrets import SecretBox

from .siem_house import House, L, filled, house, siem, stream
from .siem_receivers import Request, Siem

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick_chassis.service import Runtime
    from tallystick_ledger.siem.secrets import Secret
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource


__all__ = ["filled", "house", "siem"]  # fixtures

pytestmark = [pytest.mark.control("EV-25e"), pytest.mark.control("EV-24e")]

OLD, NEW = SecretKey(bytes(32)), SecretKey(b"n" * 32)
rewrap_keys = SERVICE.commands["rewrap-keys"]


def box(**keys: SecretKey) -> SecretBox:
    return SecretBox(KeyWrap(KeyEncryptionKeys({name.removeprefix("epoch_"): key for name, key in keys.items()})))


def write(file: Path, keys: dict[str, SecretKey]) -> None:
    file.write_text(json.dumps({epoch: base64.b64encode(bytes(key)).decode() for epoch, key in keys.items()}))


def runtime_with(house: House, file: Path) -> Runtime:
    settings = SimpleNamespace(kek=key_encryption_keys(file.read_text()), kek_watched=file)
    return cast(
        "Runtime", SimpleNamespace(database=house.database, duty=house.duty, service="ledger", settings=settings)
    )


def is_signed(request: Request, secret: Secret) -> bool:
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    digest = hmac.new(secret.key, signed, hashlib.sha256).digest()
    return request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the key-encryption keys, with the one that the house's destinations lie under."""
    monkeypatch.setattr(rewrapping, "_SETTLE_S", 0.0)
    file = tmp_path / "kek.json"
    write(file, {"1": OLD})
    return file


async def test_a_rotation_moves_every_secret_once_and_no_receiver_notices(  # noqa: PLR0917 - fixtures
    house: House,
    siem: Siem,
    filled: TenantId,
    writer: LedgerWriter,
    source: FakeSource,
    keys: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = TenantId(uuid4())
    await writer.record(other, L, source.compliance(other, 4))
    made = await house.add(filled, siem.url, authorization="Splunk 12345")
    elsewhere = await house.add(other, siem.url)
    gone = await house.add(other, siem.url)
    await house.do(gone, commands.remove)
    await house.add(other, "syslog+tls://127.0.0.1:6514")
    # It started before the new key was there, and follows the file.
    running = house.worker(box=SecretBox(KeyWrap(KeyEncryptionKeys({"1": OLD}), file=KeyFile(keys))))
    await stream(running, made)

    write(keys, {"1": OLD, "2": NEW})
    runtime = runtime_with(house, keys)
    assert await rewrap_keys(runtime, ["--previous=1"]) == 0
    assert await rewrap_keys(runtime, ["--previous=1"]) == 0
    assert capsys.readouterr().out.splitlines() == ["2 1", "0 0"]
    recorded = await house.superuser.fetch(
        "select stream from ledger.events where tenant_id = $1 and type = 'ledger.siem_key.rotated'", PLATFORM_TENANT
    )
    assert [row["stream"] for row in recorded] == ["siem_key-2"]
    rows = await house.superuser.fetch("select kind, removed_at, epoch from ledger.siem_destinations")
    assert {row["epoch"] for row in rows if row["kind"] == "https" and row["removed_at"] is None} == {"2"}
    assert {row["epoch"] for row in rows if row["kind"] == "syslog" or row["removed_at"] is not None} == {None}

    await writer.record(filled, L, source.compliance(filled, 2))
    await stream(running, made)
    assert set(siem.entries()) == await house.entries(filled)
    assert all(is_signed(request, made.secret) for request in siem.requests)
    assert {request.headers["authorization"] for request in siem.requests} == {"Splunk 12345"}
    siem.requests.clear()
    await stream(house.worker(box=box(epoch_2=NEW)), elsewhere)
    assert [is_signed(request, elsewhere.secret) for request in siem.requests] == [True], "without the key before"


async def test_a_process_without_the_new_key_sends_nothing_and_says_why(
    house: House, siem: Siem, filled: TenantId, keys: Path
) -> None:
    made = await house.add(filled, siem.url)
    write(keys, {"1": OLD, "2": NEW})
    await rewrap_keys(runtime_with(house, keys), ["--previous=1"])
    await stream(house.worker(box=box(epoch_1=OLD)), made)
    assert not siem.requests
    assert (await house.look(made)).fault == "the secret cannot be opened"


async def test_a_row_that_was_pointed_elsewhere_is_named_and_stops_no_other(
    house: House, siem: Siem, filled: TenantId, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bent, made = await house.add(filled, siem.url), await house.add(filled, siem.url)
    await house.superuser.execute(
        "update ledger.siem_destinations set address = 'https://thief.example/' where id = $1", bent.due.id
    )
    write(keys, {"1": OLD, "2": NEW})
    assert await rewrap_keys(runtime_with(house, keys), ["--previous=1"]) == 1
    said = capsys.readouterr().err
    assert f"destination {bent.due.id} of tenant {filled} cannot be opened" in said
    assert str(made.due.id) not in said
    epochs = await house.superuser.fetch("select id, epoch from ledger.siem_destinations where removed_at is null")
    assert {row["id"]: row["epoch"] for row in epochs if row["id"] in {bent.due.id, made.due.id}} == {
        bent.due.id: "1",
        made.due.id: "2",
    }
