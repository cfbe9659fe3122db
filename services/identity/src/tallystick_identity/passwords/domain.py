"""What may be a password: 8 to 128 characters, whichever they are, and not one that everybody tries first.

Source: ASVS 5.0 rows 6.2.1 to 6.2.12; NIST SP 800-63B §3.1.1.2.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from tallystick_chassis.ids import TenantId

MIN_LENGTH: Final = 8
MAX_LENGTH: Final = 128
PRODUCT: Final = "tallystick"
_CORE_LENGTH: Final = 4
_DECORATION = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_WORDS = re.compile(r"[^\W\d_]+")

IMPORTED_HASH: Final = r"\A\$2[aby]\$12\$[./A-Za-z0-9]{53}\Z"
"""What of another system's passwords is taken over: bcrypt of cost 12, in its usual text form."""


@dataclass(frozen=True, slots=True)
class StoredPassword:
    """What is stored of a password: a salted slow hash in its text form, and since when."""

    hash: str
    set_at: datetime


def refusal_of(password: str, *, common: Container[str], context: Iterable[str] = ()) -> str | None:
    """Say why ``password`` may not be set, or ``None``.

    ``common`` are passwords that are tried first, as they are written or in lower case. ``context`` are texts that
    whoever guesses at this account knows: its address, the tenant's name. Digits and signs around such a word do not
    make it another.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        return f"must have {MIN_LENGTH} to {MAX_LENGTH} characters"
    folded = password.casefold()
    core = _DECORATION.sub("", folded)
    is_common = password in common or folded in common or (len(core) >= _CORE_LENGTH and core in common)
    if is_common or len(set(folded)) == 1:
        return "is among the passwords that are tried first; choose another, a few words for example"
    known = {PRODUCT} | {text.casefold() for text in context}
    known |= {word for text in known for word in _WORDS.findall(text) if len(word) >= _CORE_LENGTH}
    if folded in known or core in known:
        return "is made of your address or of this site's name; choose another, a few words for example"
    return None


@dataclass(frozen=True, slots=True)
class DeviceMark:
    """What a browser keeps after a sign-in: a random name, signed for one account.

    Whoever shows it spends tries of that browser's own, so that no stranger's guesses shut it out.
    """

    name: str
    mac: str

    def __str__(self) -> str:
        """Return the cookie's value."""
        return f"{self.name}.{self.mac}"


def device_mark(key: bytes, tenant: TenantId, email_index: bytes, *, name: str) -> DeviceMark:
    """Return the mark of the device ``name`` (at least 128 random bits) for an account."""
    message = b"tallystick device v1\x00" + tenant.bytes + email_index + name.encode()
    return DeviceMark(name, hmac.digest(key, message, "sha256").hex())


def known_device(key: bytes, tenant: TenantId, email_index: bytes, text: str) -> str | None:
    """Return the name of the device that shows ``text``, if it was marked for this account; else ``None``."""
    name, _, mac = text.partition(".")
    expected = device_mark(key, tenant, email_index, name=name)
    return name if name and hmac.compare_digest(expected.mac.encode(), mac.encode()) else None
