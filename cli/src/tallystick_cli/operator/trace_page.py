"""A timeline as one HTML file that opens offline: no script, nothing fetched, a waterfall drawn in SVG."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from html import escape
from typing import Final
from uuid import UUID

from tallystick_chassis.trace_command import Hop

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #5a5a5a; --line: #c9c9c9; --bar: #2b5d8a;
  --mark: #a14a00; --bad: #a11616; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --paper: #16181b; --soft: #b3b3b3; --line: #45494f;
  --bar: #8db9e3; --mark: #f0a868; --bad: #ff9a92; } }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
code { font-family: ui-monospace, monospace; font-size: .875rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: var(--soft); }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
svg { width: 100%; min-width: 40rem; height: auto; display: block; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg text.soft { fill: var(--soft); }
svg .bar { fill: var(--bar); } svg .handled { fill: var(--mark); } svg .buried { fill: var(--bad); }
svg line { stroke: var(--line); }
"""
# The page may apply this one style sheet and do nothing else at all.
_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    + b64encode(sha256(_STYLE.encode()).digest()).decode()
    + "'"
)
_LABEL: Final = 330
_WIDTH: Final = 1_000
_ROW: Final = 22
_TOP: Final = 28


def render_page(correlation: str, hops: Sequence[Hop]) -> str:
    """Write the page; ``hops`` are in order of time."""
    body = "<p>Nothing bears this id.</p>" if not hops else _waterfall(hops) + _table(hops)
    span_ms = (hops[-1].at - hops[0].at).total_seconds() * 1000 if hops else 0
    began = f"{hops[0].at:%Y-%m-%d %H:%M:%S} UTC, " if hops else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Timeline of {escape(correlation)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Timeline of <code>{escape(correlation)}</code></h1>
<p class="soft">{began}{len(hops)} hops in {span_ms:,.0f} ms. From the services' own stores; times are each service's
own clock.</p>
{body}
</main>
</body>
</html>
"""


def _waterfall(hops: Sequence[Hop]) -> str:
    rows: dict[UUID, list[Hop]] = {}
    for hop in hops:
        rows.setdefault(hop.event_id, []).append(hop)
    first, last = hops[0].at, hops[-1].at
    total_s = max((last - first).total_seconds(), 0.001)

    def x(at: datetime) -> float:
        return _LABEL + (at - first).total_seconds() / total_s * (_WIDTH - _LABEL - 20)

    height = _TOP + _ROW * len(rows) + 8
    drawn = [
        f'<text class="soft" x="{_LABEL}" y="14">0</text>',
        f'<text class="soft" x="{_WIDTH - 20}" y="14" text-anchor="end">{total_s * 1000:,.0f} ms</text>',
    ]
    for number, own in enumerate(rows.values()):
        top = _TOP + number * _ROW
        drawn.append(f'<line x1="0" y1="{top + _ROW - 3}" x2="{_WIDTH}" y2="{top + _ROW - 3}"/>')
        drawn.append(f'<text x="0" y="{top + 12}">{escape(own[0].event_type)}</text>')
        stored = [hop for hop in own if hop.what in {"stored", "published", "recorded"}]
        if stored:
            left, right = x(stored[0].at), x(stored[-1].at)
            took_ms = (stored[-1].at - stored[0].at).total_seconds() * 1000
            title = f"{stored[0].what} to {stored[-1].what}, {took_ms:,.0f} ms"
            drawn.append(
                f'<rect class="bar" x="{left:.1f}" y="{top + 3}" width="{max(right - left, 2):.1f}" height="10">'
                f"<title>{escape(title)}</title></rect>"
            )
        drawn += [
            f'<circle class="{hop.what}" cx="{x(hop.at):.1f}" cy="{top + 8}" r="4">'
            f"<title>{escape(f'{hop.what} by {hop.consumer}')}</title></circle>"
            for hop in own
            if hop.what in {"handled", "buried"}
        ]
    return (
        '<h2>Waterfall</h2><p class="soft">A bar from storing an event to its entry in the ledger; a dot where a '
        "service handled it.</p>"
        f'<div class="scroll"><svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Waterfall of {len(rows)} events">{"".join(drawn)}</svg></div>'
    )


def _table(hops: Sequence[Hop]) -> str:
    first = hops[0].at
    rows = "".join(
        f'<tr><td class="number">{(hop.at - first).total_seconds() * 1000:,.1f}</td><td>{escape(hop.service)}</td>'
        f"<td>{escape(hop.what)}</td><td>{escape(hop.event_type)}</td><td>{escape(_detail(hop))}</td>"
        f"<td><code>{hop.event_id}</code></td></tr>"
        for hop in hops
    )
    heads = "".join(f'<th scope="col">{one}</th>' for one in ("ms", "Service", "What", "Event", "Detail", "Event id"))
    return f"<h2>Hops</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _detail(hop: Hop) -> str:
    parts = (
        f"{hop.log} {hop.seq}" if hop.log else "",
        f"consumer {hop.consumer}" if hop.consumer else "",
        f"by {hop.actor}" if hop.actor else "",
        f"waits for {hop.waits_for}" if hop.waits_for else "",
        f"client's own id {hop.client_correlation}" if hop.client_correlation else "",
    )
    return ", ".join(part for part in parts if part)
