"""A QR code as a page draws it: one path of an inline SVG, so that no image and no style is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import segno

_BORDER = 4  # modules of quiet zone (ISO/IEC 18004, 9.1)


@dataclass(frozen=True, slots=True)
class QrCode:
    """``path`` draws the dark modules as runs, in a square of ``size`` units."""

    size: int
    path: str

    @classmethod
    def of(cls, text: str) -> QrCode:
        """Return the code of a text."""
        rows = [list(row) for row in segno.make(text, micro=False).matrix]
        runs = []
        for y, row in enumerate(rows):
            start = None
            for x, is_dark in enumerate([*row, 0]):
                if is_dark and start is None:
                    start = x
                elif not is_dark and start is not None:
                    runs.append(f"M{start + _BORDER} {y + _BORDER}h{x - start}v1h{start - x}z")
                    start = None
        return cls(len(rows) + 2 * _BORDER, "".join(runs))
