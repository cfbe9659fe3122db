"""The second half of the story: what outsiders, the privacy officer and the auditor can make sure of."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from tallystick_cli.cluster.steps import eventually, require
from tallystick_contracts.topology import ServiceName

from tallystick_demo.operator import TALLY, tally
from tallystick_demo.story import all_of, entries_of

if TYPE_CHECKING:
    from tallystick_cli.cluster.person import Person

    from tallystick_demo.report import Running
    from tallystick_demo.story import Stage

ALL_SERVICES = len(ServiceName)
FIELDS = {"status", "credential_type", "issuer", "issued_at", "expires_at", "integrity"}
_LEDGER = "/api/v1/ledger"


@dataclass(frozen=True, slots=True)
class ExportedLog:
    """One log as the auditor has it: the folder, whose it is, and how many entries."""

    tenant: str
    folder: Path
    origin: str
    entries: int


async def anyone_verifies(stage: Stage, step: Running, folder: Path) -> int:
    """Somebody without an account checks a good, the revoked and a made-up certificate, and takes the proofs home."""
    folder.mkdir(parents=True)  # noqa: ASYNC240 - one folder, once
    good, revoked = 0, 0
    async with httpx.AsyncClient(verify=stage.world.tls, timeout=10.0) as stranger:
        for tenant in stage.tenants.values():
            for mail, certificate in sorted(tenant.certificates.items()):
                url = certificate["verification_url"]

                async def proved(url: str = url) -> dict[str, Any] | None:
                    shown = (await stranger.get(url, headers={"Accept": "application/json"})).json()
                    return shown if (shown["integrity"] or {}).get("proof") == "verified" else None

                shown = await eventually(proved, "publishing a certificate with its proof")
                require(set(shown) == FIELDS, f"exactly {sorted(FIELDS)} may be shown, not {sorted(shown)}")
                good += shown["status"] == "valid"
                name = f"{good + revoked + (shown['status'] != 'valid'):03d}"
                proof, entry = await stranger.get(f"{url}/proof"), await stranger.get(f"{url}/entry")
                require(proof.is_success and entry.is_success, "proof and entry can be downloaded")
                (folder / f"{name}.proof").write_bytes(proof.content)
                (folder / f"{name}.entry.json").write_bytes(entry.content)
                for secret in (mail, tenant.ids[mail], certificate["certificate_id"]):
                    require(secret.encode() not in proof.content + entry.content, "a public proof names its holder")
                revoked += shown["status"] == "revoked"
        first = next(iter(stage.tenants.values()))
        url = first.certificates[min(first.certificates)]["verification_url"]

        async def withdrawn() -> bool | None:
            answer = await stranger.get(url, headers={"Accept": "application/json"})
            return answer.json()["status"] == "revoked" or None

        await eventually(withdrawn, "showing the revoked certificate as revoked")
        made_up = await stranger.get(url.rsplit("/", 1)[0] + "/" + "x" * 32, headers={"Accept": "application/json"})
        require(made_up.json()["status"] == "cannot_be_confirmed", f"a made-up one is {made_up.text}")
        require(set(made_up.json()) == FIELDS, "a made-up one is answered in the same shape")
        page = await stranger.get(url, headers={"Accept": "text/html"})
        require("revoked" in page.text.lower(), "the page says in words that it is revoked")
    total = sum(len(tenant.certificates) for tenant in stage.tenants.values())
    step.detail = (
        f"{total} certificates with a proof to take home; the revoked one says so, a made-up one cannot be confirmed; "
        "no answer names a person"
    )
    return total


async def person_is_erased(stage: Stage, step: Running) -> str:
    """A person is deleted; every store reports; the key is destroyed; return the correlation id of it all."""
    tenant = next(iter(stage.tenants.values()))
    who = tenant.candidates[-1]
    administrator, officer = tenant.staff["administrator"], tenant.staff["privacy_officer"]
    path = f"/api/v1/identity/people/{tenant.ids[who.email]}"
    require(who.email in (await administrator.get("identity", path)).text, "before, the administrator sees the address")
    await administrator.do("DELETE", "identity", path, {"reason": "Asked for it."})
    correlation = stage.world.journal.accepted[-1].correlation

    async def complete() -> dict[str, Any] | None:
        found = (await officer.read("privacy-worker", "/api/v1/compliance/erasures"))["items"]
        return next((job for job in found if job["person"] == who.ref and job["state"] == "complete"), None)

    job = await eventually(complete, "erasing a person everywhere")
    detail = await officer.read("privacy-worker", f"/api/v1/compliance/erasures/{job['job_id']}")
    services = sorted({receipt["service"] for receipt in detail["receipts"]})
    require(len(services) == ALL_SERVICES, f"all five services must report, {services} did")
    after = await administrator.get("identity", path)
    require(after.status_code == httpx.codes.NOT_FOUND, f"the person is gone, not {after.status_code}")
    step.detail = (
        f"receipts from {', '.join(services)}; key destroyed, pseudonymous residue, irrecoverable after "
        f"{detail['irrecoverable_after']}; the chain does not break, as the replay below shows"
    )
    return correlation


async def auditor_exports(stage: Stage, step: Running, folder: Path) -> list[ExportedLog]:
    """The auditors export every log of their tenants, with checkpoint and key; the operator the platform's."""
    exported: list[ExportedLog] = []
    for tenant in stage.tenants.values():
        auditor = tenant.staff["auditor"]
        logs = (await auditor.read("ledger", f"{_LEDGER}/logs"))["logs"]
        # The compliance log last: asking for an export is itself an entry there.
        for log in sorted(logs, key=lambda each: each["kind"] == "compliance"):
            made = await auditor.do("POST", "ledger", f"{_LEDGER}/exports", {"log_id": log["id"]})
            target = folder / f"{tenant.slug}-{log['kind']}"
            target.mkdir(parents=True)
            base = httpx.URL(made["base_url"]).path
            for name in made["files"]:
                answer = await auditor.get("ledger", f"{base}/{name}")
                require(answer.is_success, f"downloading {name} answered {answer.status_code}")
                (target / name).write_bytes(answer.content)
            exported.append(ExportedLog(tenant.slug, target, made["origin"], made["size"]))
    # The platform's own log has no auditor who could sign in: its operator hands it out.
    await tally("export", "--tenant", "platform", "--out", str(folder / "platform"), "--dir", str(stage.layout.root))
    for path in sorted((folder / "platform").iterdir()):
        target = path.rename(folder / f"platform-{path.name}")
        origin, size, *_ = (target / "checkpoint").read_text().splitlines()
        exported.append(ExportedLog("platform", target, origin, int(size)))
    (folder / "platform").rmdir()
    step.detail = f"{len(exported)} logs, {sum(log.entries for log in exported)} entries, each with checkpoint and key"
    return exported


async def auditor_replays(step: Running, exported: list[ExportedLog]) -> None:
    """Every export replays offline as intact under the pinned key; a copy with one byte changed fails by name."""
    for log in exported:
        code, said = await _verify(log.folder, log.folder / "ledger.vkey")
        require(code == 0 and said["status"] == "intact" and said["authenticated"], f"{log.folder.name}: {said}")
        require(said["entries"] == log.entries, f"{log.folder.name}: {said['entries']} of {log.entries} entries")
    largest = max(exported, key=lambda log: log.entries)
    tampered = largest.folder.with_name(largest.folder.name + ".tampered")
    shutil.copytree(largest.folder, tampered)
    try:
        lines = (tampered / "entries.ndjson").read_bytes().splitlines(keepends=True)
        victim = len(lines) // 2
        position = lines[victim].index(b'"actor":"') + 12
        flipped = bytearray(lines[victim])
        flipped[position] ^= 1
        lines[victim] = bytes(flipped)
        (tampered / "entries.ndjson").write_bytes(b"".join(lines))
        code, said = await _verify(tampered, largest.folder / "ledger.vkey")
    finally:
        shutil.rmtree(tampered)
    finding = (said["findings"] or [{}])[0]
    require(code == 1 and said["status"] == "damaged", f"one changed byte must be found: {said}")
    require(
        victim in {finding.get("seq"), (finding.get("seq") or 0) - 1}, f"entry {victim} was changed, {finding} named"
    )
    step.detail = (
        f"{len(exported)} logs intact under the pinned key; with one byte of entry {victim} changed: "
        f"{finding.get('code')}: {finding.get('detail') or finding.get('message')}"
    )


async def _verify(folder: Path, key: Path) -> tuple[int, dict[str, Any]]:
    """Run the auditor's own command."""
    command = ("audit", "verify", str(folder), "--key", str(key), "--json")
    process = await asyncio.create_subprocess_exec(
        TALLY, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    require(process.returncode in {0, 1} and out, f"tally audit verify ended with {process.returncode}: {err.decode()}")
    return int(process.returncode or 0), msgspec.json.decode(out)


async def one_id_shows_everything(stage: Stage, step: Running, correlation: str) -> list[str]:
    """One correlation id as a timeline, through every service that it touched."""
    tenant = next(iter(stage.tenants.values()))

    async def recorded() -> list[dict[str, Any]] | None:
        found = await entries_of(tenant, correlation)
        return found if any(line["event"]["type"] == "privacy.user.anonymised" for line in found) else None

    lines = await eventually(recorded, "recording the end of the erasure")
    timeline = [
        f"{line['event']['time'][11:23]}  {line['event']['type']:<36} {line['log'].rsplit('/', 1)[1]} {line['seq']}"
        for line in sorted(lines, key=lambda line: str(line["event"]["time"]))
    ]
    sources = {line["event"]["source"] for line in lines}
    require(
        len(sources) == ALL_SERVICES,
        f"the correlation id should be in all five services, it is in {sorted(sources)}",
    )
    step.detail = f"correlation {correlation}\n    " + "\n    ".join(timeline)
    return timeline


async def leave(people: list[Person]) -> None:
    """Everybody closes the browser."""
    await all_of(people, lambda person: person.leave())


__all__ = [
    "ExportedLog",
    "anyone_verifies",
    "auditor_exports",
    "auditor_replays",
    "leave",
    "one_id_shows_everything",
    "person_is_erased",
]
