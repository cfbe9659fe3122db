"""What streaming to SIEMs needs of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.http.key_file import KeyFile
from tallystick_chassis.http.outbound import Outbound
from tallystick_chassis.keystore import KeyWrap

from tallystick_ledger.siem.secrets import SecretBox

if TYPE_CHECKING:
    from tallystick_ledger.settings import Settings


def open_outbound(settings: Settings) -> Outbound:
    """Return the way to the SIEMs that tenants name."""
    return Outbound(internal_hosts=settings.siem_internal_hosts or (), ca_file=settings.siem_ca_file)


def open_box(settings: Settings) -> SecretBox:
    """Return what wraps and opens the secrets of destinations."""
    watched = None if settings.kek_watched is None else KeyFile(settings.kek_watched)
    return SecretBox(KeyWrap(settings.kek, file=watched))
