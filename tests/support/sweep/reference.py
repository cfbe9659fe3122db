"""``docs/reference/routes.md``: every route with what it asks for. ``python -m sweep.reference`` in
``tests/support`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tallystick_cli.stack import boot
from tallystick_cli.stack.temporary import temporary_folder

from sweep.routes import every_route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sweep.routes import Route

FILE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "routes.md"
_HEAD = """\
# Routes and the capability each one asks for

Written from the code by `cd tests/support && python -m sweep.reference`; `tests/contract/test_routes_reference.py`
holds it against the running services, and `tests/security/test_routes.py` tries every line: without a session 401,
without the capability 403, with another tenant's or org unit's id the answer for an id that does not exist.

*public* routes need no session: two frozen lists, in `libs/chassis/src/tallystick_chassis/http/public_routes.py`.
*(recent sign-in)* asks for one within the last 15 minutes.
"""


def render(routes: Iterable[Route]) -> str:
    """Return the page."""
    text, service = [_HEAD], ""
    for route in routes:
        if route.service != service:
            service = route.service
            text.append(f"\n## {service}\n\n| Route | Capability | What it does |\n|---|---|---|\n")
        capability = f"`{route.capability}`" if route.capability else "*public*"
        again = " (recent sign-in)" if route.step_up else ""
        text.append(f"| `{route.method} {route.path}` | {capability}{again} | {route.summary} |\n")
    return "".join(text)


def main() -> None:
    """Write the page from the code as it is."""
    with temporary_folder() as layout:
        boot.prepare(layout)
        FILE.write_text(render(every_route(layout)), encoding="utf-8")


if __name__ == "__main__":
    main()
