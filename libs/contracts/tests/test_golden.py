"""Every event version ever published can be read for ever: its golden file says what its bytes are."""

import json
from pathlib import Path

import pytest
import rfc8785
from tallystick_contracts.envelope import decode_event, encode_event
from tallystick_contracts.generator.golden import GOLDEN, golden_path
from tallystick_contracts.message import EventType
from tallystick_contracts.registry import REGISTRY

FILES = sorted(GOLDEN.glob("*.json"))


@pytest.mark.parametrize("event_type", list(REGISTRY), ids=lambda entry: f"{entry.type}.v{entry.version}")
def test_every_event_version_has_a_golden_file(event_type: EventType) -> None:
    assert golden_path(event_type).exists(), "run `make proto` and commit the new golden file"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_is_read_and_written_again_byte_for_byte(path: Path) -> None:
    body = path.read_bytes()
    event = decode_event(body)
    assert f"{event.type}.v{event.v}" == path.stem
    if event.event_type.version == event.v:  # an older version is read as the newest one, and only read
        again = encode_event(
            event.data,
            id=event.id,
            source=event.source,
            stream=event.stream,
            stream_version=event.stream_version,
            time=event.time,
            actor=event.actor,
            correlation=event.correlation,
            causation=event.causation,
            org_unit=event.org_unit,
            subject=event.subject,
            trace=event.trace,
        )
        assert again == body


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_is_what_an_independent_rfc_8785_library_writes(path: Path) -> None:
    body = path.read_bytes()
    assert rfc8785.dumps(json.loads(body)) == body
