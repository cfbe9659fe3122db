"""What identity does when the privacy worker speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_identity.erasure.consumers import erasure_handler
from tallystick_identity.key_pool.consumers import on_key_minted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.service import Handler


def handlers(keys: KeyStore) -> Mapping[str, Handler]:
    """Return the handlers by event type. The chassis keeps the tenants' keys of the day by itself."""
    return {
        "privacy.key.minted": on_key_minted,
        "privacy.erasure.ordered": erasure_handler(keys),
    }
