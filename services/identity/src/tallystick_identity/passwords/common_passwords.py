"""The passwords that are tried first: 30,000 most used ones (zxcvbn) and 4,200,000 from breaches."""

from __future__ import annotations

from functools import cache

from tallystick_identity.passwords.breached import breached


class CommonPasswords:
    """The set of them: the most used in lower case, the breached ones as they were written."""

    def __contains__(self, password: object) -> bool:
        """Say whether ``password`` is one of them."""
        return isinstance(password, str) and (password in _most_used() or password in breached())


@cache
def _most_used() -> frozenset[str]:
    """Return the most used ones in lower case; read when first needed (zxcvbn loads lists of words and names too)."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - some megabytes that few processes need

    return frozenset(FREQUENCY_LISTS["passwords"])
