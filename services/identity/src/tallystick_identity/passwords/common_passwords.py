"""The passwords that are tried first: the 30,000 most used ones that zxcvbn ships. No network is asked."""

from __future__ import annotations

from functools import cache


@cache
def common_passwords() -> frozenset[str]:
    """Return them in lower case; read when first needed (zxcvbn loads lists of words and names with them)."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - some megabytes that few processes need

    return frozenset(FREQUENCY_LISTS["passwords"])
