"""``docs/reference/answers.md``: every field that a route may show, and to whom. ``python -m sweep.answers`` in
``tests/support`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick_cli.stack import boot
from tallystick_cli.stack.temporary import temporary_folder
from tallystick_contracts.topology import ServiceName

from sweep.routes import document_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "answers.md"
PRIVATE = frozenset({"display_name", "displayName", "email", "ip", "user_agent", "user.name"})
"""What events seal (class P2 of the event catalogue), by the names that answers have for it."""

_HEAD = """\
# What each answer shows, and to whom

Written from the services' OpenAPI documents by `cd tests/support && python -m sweep.answers`;
`tests/contract/test_answers_reference.py` fails when a route shows a field that is not named here, so that nobody adds
one unseen. Fields that say who somebody is are **bold**. Routes that answer with pages, files or nothing are left out;
what `rows.fields` of the `state` routes may hold is in `cli/src/tallystick_cli/audit/reconcile_rules.json`.
"""


def fields_shown(document: Mapping[str, Any]) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Give each operation, its capability (empty: public) and the dotted names of all fields in its good answers."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            schemas = (
                content["schema"]
                for status, answer in operation["responses"].items()
                if status.startswith("2")
                for content in answer.get("content", {}).values()
                if "schema" in content
            )
            names = frozenset(name for schema in schemas for name in _names(document, schema))
            yield f"{method.upper()} {path}", operation.get("x-capability", ""), names


def is_private(name: str) -> bool:
    """Say whether a field says who somebody is."""
    return any(name == one or name.endswith(f".{one}") for one in PRIVATE)


def render(documents: Mapping[ServiceName, Mapping[str, Any]]) -> str:
    """Return the page."""
    text = [_HEAD]
    for service, document in documents.items():
        text.append(f"\n## {service}\n\n| Route | Capability | Fields |\n|---|---|---|\n")
        for operation, capability, names in sorted(fields_shown(document)):
            shown = ", ".join(f"**`{name}`**" if is_private(name) else f"`{name}`" for name in sorted(names))
            if shown:
                text.append(f"| `{operation}` | {f'`{capability}`' if capability else '*public*'} | {shown} |\n")
    return "".join(text)


def _names(document: Mapping[str, Any], schema: Mapping[str, Any], within: tuple[str, ...] = ()) -> Iterator[str]:
    if reference := schema.get("$ref"):
        if reference not in within:  # else it holds itself, and its fields have been named
            named = document["components"]["schemas"][reference.rpartition("/")[2]]
            yield from _names(document, named, (*within, reference))
        return
    inner = [one for word in ("oneOf", "anyOf", "allOf") for one in schema.get(word, ())]
    inner += [schema[word] for word in ("items", "additionalProperties") if isinstance(schema.get(word), dict)]
    for one in inner:
        yield from _names(document, one, within)
    for name, one in schema.get("properties", {}).items():
        yield name
        yield from (f"{name}.{below}" for below in _names(document, one, within))


def main() -> None:
    """Write the page from the code as it is."""
    with temporary_folder() as layout:
        boot.prepare(layout)
        FILE.write_text(render({name: document_of(layout, name) for name in ServiceName}), encoding="utf-8")


if __name__ == "__main__":
    main()
