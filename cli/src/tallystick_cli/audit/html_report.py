"""The report as one HTML file that opens offline: no script, nothing fetched, all text of a log escaped."""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from typing import Final

import msgspec

from tallystick_cli.audit.charts import bar_chart, sparkline
from tallystick_cli.audit.console import printable
from tallystick_cli.audit.event_types import event_kinds
from tallystick_cli.audit.fast import Series
from tallystick_cli.audit.findings import Report, summarise
from tallystick_cli.audit.profile import DELAY_BOUNDS_S, Profile

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #5a5a5a; --line: #c9c9c9; --bar: #2b5d8a;
  --good: #1c6b34; --bad: #a11616; --doubt: #7a5200; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --paper: #16181b; --soft: #b3b3b3; --line: #45494f;
  --bar: #8db9e3; --good: #7fd198; --bad: #ff9a92; --doubt: #f0c064; } }
* { box-sizing: border-box; }
body { margin: 2rem auto; max-width: 64rem; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin-top: 1.5rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: var(--soft); }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
td.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
code { font-family: ui-monospace, monospace; font-size: .875rem; overflow-wrap: anywhere; }
svg rect { fill: var(--bar); } svg line { stroke: var(--line); }
svg.chart { width: 100%; height: 10rem; display: block; } svg.spark { width: 10rem; height: 1.5rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .doubt { color: var(--doubt); }
.verdict { font-weight: 600; } .soft { color: var(--soft); }
@media print { body { margin: 0; max-width: none; } section { break-inside: auto; } tr, svg { break-inside: avoid; } }
"""
# The page may apply this one style sheet and do nothing else at all.
_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    + b64encode(sha256(_STYLE.encode()).digest()).decode()
    + "'"
)


class LogPart(msgspec.Struct, frozen=True):
    """What the report says of one log."""

    report: Report
    checkpoint_size: int | None
    profile: Profile
    series: tuple[Series, ...]


def render_report(parts: Sequence[LogPart], made_at: str, version: str) -> str:
    """Write the page; ``made_at`` is a time in words that the caller chose."""
    reports = tuple(part.report for part in parts)
    total = summarise(reports)
    limits = "".join(f"<li>{_text(limit)}</li>" for limit in total.limits)
    sections = "".join(_log(part, number) for number, part in enumerate(parts))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Audit report: {_text(_verdict_words(total.status, authenticated=total.authenticated))}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Audit report</h1>
{_verdict(total.status, authenticated=total.authenticated)}
<p class="soft">{total.entries:,} entries of {len(reports)} log{"" if len(reports) == 1 else "s"},
replayed {_text(made_at)} by tally {_text(version)}. Times are UTC, as the log recorded them.</p>
{sections}
<section aria-labelledby="limits"><h2 id="limits">What this replay cannot show</h2><ul>{limits}</ul></section>
</main>
</body>
</html>
"""


def _log(part: LogPart, number: int) -> str:
    report, profile = part.report, part.profile
    heading = f"log-{number}"
    facts = (
        ("Read from", _text(report.source)),
        ("Checkpoint", "none" if part.checkpoint_size is None else f"{part.checkpoint_size:,} entries"),
        ("Replayed", f"{report.entries:,} entries"),
        ("Root", f"<code>{_text(report.root)}</code>" if report.root else "not reached"),
        ("First and last entry", f"{_text(profile.first)} to {_text(profile.last)}" if profile.entries else "none"),
    )
    rows = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in facts)
    return (
        f'<section aria-labelledby="{heading}"><h2 id="{heading}">{_text(report.log or "unknown log")}</h2>'
        f"{_verdict(report.status, authenticated=report.authenticated)}<table>{rows}</table>"
        f"{_findings(report)}{_over_time(profile, heading)}{_types(profile)}{_series(part)}{_delays(profile)}"
        f"{_silences(profile)}</section>"
    )


def _findings(report: Report) -> str:
    if not report.findings:
        return "<h3>Findings</h3><p>None.</p>"
    rows = "".join(
        f"<tr><td>{'' if finding.seq is None else finding.seq}</td><td>{_text(finding.code)}</td>"
        f"<td>{_text(finding.message)}</td></tr>"
        for finding in report.findings
    )
    return f"<h3>Findings</h3>{_table(('Entry', 'Kind', 'What is wrong'), rows)}"


def _over_time(profile: Profile, ident: str) -> str:
    totals = profile.totals()
    if not totals:
        return ""
    said = (
        f"{profile.entries} entries from {profile.first} to {profile.last}; each bar is {_span(profile.bucket_s)},"
        f" the highest holds {max(totals)}."
    )
    chart = bar_chart(totals, title="Entries over time", description=said, ident=f"{ident}-chart")
    return f'<h3>Entries over time</h3>{chart}<p class="soft">{_text(said)}</p>'


def _types(profile: Profile) -> str:
    width = len(profile.totals())
    summaries = {kind.type: kind.summary for kind in event_kinds().values()}
    rows = "".join(
        f"<tr><td><code>{_text(name)}</code><br>{_text(summaries.get(name, ''))}</td>"
        f'<td class="number">{found.count:,}</td><td class="time">{_moment(found.first)}<br>{_moment(found.last)}</td>'
        f"<td>{sparkline([found.buckets.get(at, 0) for at in range(width)])}</td></tr>"
        for name, found in sorted(profile.types.items(), key=lambda item: (-item[1].count, item[0]))
    )
    return (
        f"<h3>Entries by type</h3>{_table(('Type', '#Entries', 'First and last', 'Over time'), rows)}" if rows else ""
    )


def _series(part: LogPart) -> str:
    rows = "".join(
        f'<tr><td>{_text(item.source)}</td><td>{_text(item.aggregate)}</td><td class="number">{item.first:,}</td>'
        f'<td class="number">{item.last:,}</td><td class="number">{item.last - item.first + 1:,}</td></tr>'
        for item in part.series
    )
    if not rows:
        return ""
    gap = any(finding.code == "source_gap" for finding in part.report.findings)
    said = "A source has a gap or a repetition; see the findings." if gap else "No number is missing or repeated."
    table = _table(("Source", "Events of", "#First number", "#Last number", "#Entries"), rows)
    return f"<h3>Each source's own numbers</h3><p>{said}</p>{table}"


def _delays(profile: Profile) -> str:
    if not profile.entries:
        return ""
    names = [f"up to {_span(bound)}" for bound in DELAY_BOUNDS_S] + ["longer"]
    rows = "".join(
        f'<tr><td>{name}</td><td class="number">{count:,}</td></tr>'
        for name, count in zip(names, profile.delays, strict=True)
        if count
    )
    worst = ""
    if profile.worst_delay is not None:
        worst = f"<p>The longest was {profile.worst_delay[0]:.3f} s, at entry {profile.worst_delay[1]}.</p>"
    if profile.early:
        worst += f"<p>{profile.early:,} entries were recorded before the time their event gives: clocks differ.</p>"
    return f"<h3>Delay from event to entry</h3>{_table(('Delay', '#Entries'), rows)}{worst}"


def _silences(profile: Profile) -> str:
    rows = "".join(
        f'<tr><td class="number">{silence.after_seq}</td><td>{_text(silence.begin)}</td><td>{_text(silence.end)}</td>'
        f'<td class="number">{silence.seconds:,.1f}</td></tr>'
        for silence in profile.silences()
    )
    head = ("#After entry", "From", "To", "#Seconds")
    return f"<h3>Longest stretches without entries</h3>{_table(head, rows)}" if rows else ""


def _table(names: Sequence[str], rows: str) -> str:
    """Make a table; a name that begins with # heads a column of numbers."""
    head = "".join(
        f'<th scope="col" class="number">{name[1:]}</th>' if name.startswith("#") else f'<th scope="col">{name}</th>'
        for name in names
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _verdict(status: str, *, authenticated: bool) -> str:
    style = "bad" if status == "damaged" else "good" if authenticated else "doubt"
    return f'<p class="verdict {style}">{_verdict_words(status, authenticated=authenticated)}</p>'


def _verdict_words(status: str, *, authenticated: bool) -> str:
    if status == "damaged":
        return "Damaged"
    return "Intact, authenticated by the pinned key" if authenticated else "Self-consistent, not authenticated"


def _span(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"


def _moment(recorded: str) -> str:
    """Write a recorded time to the second."""
    return _text(recorded[:19].replace("T", " "))


def _text(value: str) -> str:
    """Escape; control and direction marks, which could disguise text, are shown as a question mark."""
    return escape(printable(value), quote=True)
