"""Golden files: the bytes of one example of every event version ever published."""

from pathlib import Path

from tallystick_contracts.generator.examples import example_event
from tallystick_contracts.message import EventType
from tallystick_contracts.registry import REGISTRY

GOLDEN = Path(__file__).resolve().parents[3] / "tests" / "golden"


def golden_path(event_type: EventType) -> Path:
    """Return where the golden file of an event version is kept."""
    return GOLDEN / f"{event_type.type}.v{event_type.version}.json"


def write_missing() -> None:
    """Write the files that do not exist yet, and no other."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for event_type in REGISTRY:
        path = golden_path(event_type)
        if not path.exists():
            path.write_bytes(example_event(event_type))
