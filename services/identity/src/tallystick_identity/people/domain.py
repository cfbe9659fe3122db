"""A person's address and name: what is accepted, and how an address is found without being stored in clear."""

from __future__ import annotations

import hmac
import unicodedata
from typing import TYPE_CHECKING

from email_validator import EmailNotValidError, validate_email

if TYPE_CHECKING:
    from tallystick_chassis.ids import TenantId

MAX_EMAIL_LENGTH = 254
MAX_NAME_LENGTH = 120


class InvalidEmailError(ValueError):
    """The text is not an e-mail address that mail can be sent to."""


class InvalidNameError(ValueError):
    """The text is empty, too long, or holds control characters."""


def email_address(text: str) -> str:
    """Return the address as it is stored and written to.

    Raises:
        InvalidEmailError: if it is no address. Whether it can be delivered is not asked.
    """
    try:
        return validate_email(text.strip(), check_deliverability=False).normalized
    except EmailNotValidError:
        msg = "is not an e-mail address"
        raise InvalidEmailError(msg) from None


def display_name(text: str) -> str:
    """Return the name without surrounding space.

    Raises:
        InvalidNameError: if it is empty, longer than 120 characters, or not printable.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        msg = f"must have 1 to {MAX_NAME_LENGTH} printable characters"
        raise InvalidNameError(msg)
    return name


def search_form(address: str) -> str:
    """Return what two spellings of one address have in common: NFKC, no surrounding space, case folded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", address).strip().casefold())


def blind_index(key: bytes, tenant: TenantId, address: str) -> bytes:
    """Return the keyed index by which an address is found: 32 bytes that say nothing without the key.

    The tenant is in it, so that one person's rows in two tenants have nothing in common.
    """
    return hmac.digest(key, tenant.bytes + b"\x00" + search_form(address).encode(), "sha256")
