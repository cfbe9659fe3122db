"""The event taxonomy that people read is the registry that code uses."""

from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.taxonomy import TAXONOMY, render


def test_the_taxonomy_document_is_what_the_registry_gives() -> None:
    assert TAXONOMY.read_text(encoding="utf-8") == render()


def test_every_event_type_has_its_row() -> None:
    text = render()
    for entry in REGISTRY:
        assert text.count(f"| `{entry.type}` | {entry.version} |") == 1
