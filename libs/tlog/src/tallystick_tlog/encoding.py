"""Standard base64 of RFC 4648 §4, accepting only the one spelling that encoding would give."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error


def to_base64(data: bytes) -> str:
    """Encode with padding."""
    return b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes:
    """Decode strictly: no white space, no missing padding, no stray bits after the last byte.

    Stray bits matter: with them, several texts stand for one hash and a changed file could pass for the same.

    Raises:
        ValueError: the text is not the canonical base64 of anything.

    """
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        message = "not base64"
        raise ValueError(message) from error
    if to_base64(data) != text:
        message = "not canonical base64"
        raise ValueError(message)
    return data
