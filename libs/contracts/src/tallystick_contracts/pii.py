"""Check an event's data against the PII class of every field."""

import binascii
import re
from collections.abc import Iterator

from tallystick_contracts.errors import ForbiddenFieldError, NotAPseudonymError, UnsealedPersonalDataError
from tallystick_contracts.generated.common import Sealed
from tallystick_contracts.message import EventData, EventType, PiiClass

SEAL_OVERHEAD_BYTES = 48  # crypto_box_SEALBYTES of libsodium: ephemeral public key and authenticator
# Random references, UUIDs, hex and base64 fit; a mail address, a full name or a sentence does not.
_PSEUDONYM = re.compile(r"[A-Za-z0-9._:/+=-]{0,128}")


def check_pii(event_type: EventType, data: EventData) -> None:
    """Raise if a field is P3, a P2 field is not a sealed box, or a P1 field cannot be a pseudonym."""
    for path, pii in event_type.sensitive:
        for value in _values(data, path):
            if pii is PiiClass.P1:
                if isinstance(value, str) and _PSEUDONYM.fullmatch(value) is None:
                    message = f"{event_type.type}: {'.'.join(path)} is P1, so it holds a random reference"
                    raise NotAPseudonymError(message)
            elif pii is PiiClass.P2:
                if value is not None and not _is_sealed(value):
                    message = f"{event_type.type}: {'.'.join(path)} is P2, so it holds a sealed box"
                    raise UnsealedPersonalDataError(message)
            else:
                message = f"{event_type.type}: {'.'.join(path)} is P3, which no event may hold"
                raise ForbiddenFieldError(message)


def _values(value: object, path: tuple[str, ...]) -> Iterator[object]:
    if isinstance(value, tuple | list):
        for item in value:
            yield from _values(item, path)
    elif not path:
        yield value
    elif value is not None:
        yield from _values(getattr(value, path[0]), path[1:])


def _is_sealed(value: object) -> bool:
    if not isinstance(value, Sealed) or not value.key_id or _PSEUDONYM.fullmatch(value.key_id) is None:
        return False
    try:
        box = binascii.a2b_base64(value.box, strict_mode=True)
    except ValueError:
        return False
    # Strict mode still passes over left-over bits, which would let one box be written in several ways.
    return len(box) > SEAL_OVERHEAD_BYTES and binascii.b2a_base64(box, newline=False).decode() == value.box
