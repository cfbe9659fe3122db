"""The measures: each is taken by `make bench`, their settings are documented, and what they send the product would."""

import importlib
import json
import re
import sys
from pathlib import Path
from uuid import UUID

import pytest
from tallystick_chassis.clock import utc_now
from tallystick_chassis.ids import TenantId
from tallystick_chassis.relay import Relay, _Due

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/performance.md"


@pytest.fixture(autouse=True)
def _root_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_every_module_with_a_measure_is_taken_by_make_bench() -> None:
    written = {f"bench.{path.stem}" for path in (ROOT / "bench").glob("*.py") if "= Measure(" in path.read_text()}
    assert set(importlib.import_module("bench.__main__").MODULES) == written


def test_measures_import_without_the_library_that_one_is_taken_against(monkeypatch: pytest.MonkeyPatch) -> None:
    for absent in ("eventsourcing", "eventsourcing.persistence", "eventsourcing.postgres"):
        monkeypatch.setitem(sys.modules, absent, None)
    monkeypatch.delitem(sys.modules, "bench.append_vs_eventsourcing", raising=False)
    assert importlib.import_module("bench.append_vs_eventsourcing").AS_IT_COMES.name == "append_vs_eventsourcing"


def test_an_image_weighs_what_lies_above_its_base() -> None:
    rows = [
        ("COPY /app /app # buildkit", "80000000"),
        ("LABEL org.opencontainers.image.title=tallystick ledger", "0"),
        ("RUN of the base", "120000000"),
    ]
    history = "".join(json.dumps({"CreatedBy": made_by, "Size": size}) + "\n" for made_by, size in rows)
    module = importlib.import_module("bench.image_size")
    assert module.above_base_bytes(history) == 80_000_000
    with pytest.raises(ValueError, match="ours"):
        module.above_base_bytes(history.splitlines()[2])


def test_without_docker_an_image_has_no_figure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    module = importlib.import_module("bench.image_size")
    for program in ("/nowhere/docker", "false"):
        monkeypatch.setattr(module, "_DOCKER", program)
        assert module.take() is None
        assert "is not to be weighed here" in capsys.readouterr().err


def test_every_setting_of_a_measure_stands_in_the_page_and_no_other_does() -> None:
    read = {
        name for path in (ROOT / "bench").glob("*.py") for name in re.findall(r'"(TALLY_BENCH_\w+)"', path.read_text())
    }
    assert set(re.findall(r"`(TALLY_BENCH_\w+)`", PAGE.read_text())) == read


def test_what_ingest_publishes_is_what_the_relay_would() -> None:
    tenant = TenantId(UUID(int=7))
    arrival = importlib.import_module("bench.append").arrival(tenant, 3)
    relay = Relay(duty=None, bus=None, service="assessment", clock=utc_now)
    due = _Due(arrival.event.id, arrival.source_seq, arrival.body)
    assert importlib.import_module("bench.ingest")._message(arrival) == relay._message(tenant, due)
