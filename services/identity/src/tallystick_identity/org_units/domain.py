"""Paths in the tree of org units: slugs from the root, as in ``north/blue``; the root's own path is empty."""

from __future__ import annotations

from tallystick_identity.tenants.domain import is_slug

MAX_DEPTH = 8
PATH_RULE = f"1 to {MAX_DEPTH} short names with slashes between, as in north/blue"


def is_path(text: str) -> bool:
    """Say whether ``text`` is the path of a unit below the root."""
    parts = text.split("/")
    return len(parts) <= MAX_DEPTH and all(is_slug(part) for part in parts)


def child_path(parent: str, slug: str) -> str:
    """Return the path of the child ``slug`` of the unit at ``parent``."""
    return f"{parent}/{slug}" if parent else slug


def parent_path(path: str) -> str:
    """Return the path above ``path``; the empty path is the root's."""
    return path.rpartition("/")[0]


def missing_paths(wanted: set[str], existing: set[str]) -> list[str]:
    """Return the paths to create so that every wanted one exists, parents before children."""
    needed: set[str] = set()
    for path in wanted:
        step = path
        while step and step not in existing:
            needed.add(step)
            step = parent_path(step)
    return sorted(needed, key=lambda path: (path.count("/"), path))
