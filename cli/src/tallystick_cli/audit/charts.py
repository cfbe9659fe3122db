"""Bar charts as SVG: no script, no colour that carries meaning, a title and a description for who cannot see them."""

from collections.abc import Sequence
from html import escape

_HEIGHT = 160
_BAR = 8
_GAP = 2


def bar_chart(values: Sequence[int], *, title: str, description: str, ident: str) -> str:
    """Draw a chart of counts over equal stretches of time."""
    top = max(values, default=0) or 1
    width = max(len(values), 1) * (_BAR + _GAP)
    bars = _bars(values, top, _HEIGHT)
    return (
        f'<svg class="chart" viewBox="0 0 {width} {_HEIGHT + 2}" preserveAspectRatio="none" role="img"'
        f' aria-labelledby="{ident}-t {ident}-d"><title id="{ident}-t">{escape(title)}</title>'
        f'<desc id="{ident}-d">{escape(description)}</desc>{bars}'
        f'<line x1="0" y1="{_HEIGHT + 1}" x2="{width}" y2="{_HEIGHT + 1}"/></svg>'
    )


def sparkline(values: Sequence[int]) -> str:
    """Draw a small chart beside figures that say the same."""
    height = 24
    width = max(len(values), 1) * (_BAR + _GAP)
    bars = _bars(values, max(values, default=0) or 1, height)
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">{bars}</svg>'
    )


def _bars(values: Sequence[int], top: int, height: int) -> str:
    # At least one unit high, so that a single entry among thousands is seen.
    sizes = [max(round(value * height / top), 1) if value else 0 for value in values]
    return "".join(
        f'<rect x="{at * (_BAR + _GAP)}" y="{height - size}" width="{_BAR}" height="{size}"/>'
        for at, size in enumerate(sizes)
        if size
    )
