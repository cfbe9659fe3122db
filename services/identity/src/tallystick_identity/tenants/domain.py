"""What a tenant's short name may look like."""

from __future__ import annotations

import re

_SLUG = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")
SLUG_RULE = "3 to 40 lower-case letters, digits and hyphens, beginning with a letter, not ending with a hyphen"


def is_slug(text: str) -> bool:
    """Say whether ``text`` may stand in addresses as a tenant's or a unit's short name."""
    return _SLUG.fullmatch(text) is not None
