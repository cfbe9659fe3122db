"""Where this installation keeps its high-water marks: a folder, or an address of an object store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tallystick_chassis.settings import SettingsError

from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.objects import ObjectHighWater

if TYPE_CHECKING:
    from tallystick_ledger.high_water.guard import HighWater
    from tallystick_ledger.settings import Settings


def open_marks(settings: Settings) -> HighWater:
    """Return the marks that ``TALLY_HIGH_WATER`` names; nothing is asked or made yet.

    Raises:
        SettingsError: it is neither an absolute path nor an address that a store can be found by.
    """
    try:
        return open_at(settings.high_water, trusted=settings.ca_file.read_bytes())
    except (ValueError, OSError) as error:
        raise SettingsError([f"setting TALLY_HIGH_WATER is invalid: {error}"]) from error


def open_at(where: str, *, trusted: bytes | None = None) -> HighWater:
    """Return the marks at an absolute path or an address; ``trusted``: more authorities for its https (PEM).

    Raises:
        ValueError: it is neither.
    """
    if where.startswith("/"):
        return FileHighWater(Path(where))
    return ObjectHighWater.at(where, trusted=trusted)
