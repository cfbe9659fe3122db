"""Answers in words."""

from collections.abc import Sequence
from pathlib import Path

from tallystick_cli.audit.console import counted, say
from tallystick_cli.audit.diff import Diff
from tallystick_cli.audit.explain import Explanation, Related
from tallystick_cli.audit.sample import Sample
from tallystick_cli.audit.state import State

_SHOWN = 20
"""Missing versions that are listed one by one."""


def tell_sample(sample: Sample, workpaper: Path | None) -> None:
    """Print what was drawn, and each entry's own line unless a workpaper was written."""
    of_type = "" if sample.type is None else f" of type {sample.type}"
    say(f"{sample.count} of {counted(sample.population, 'entry')}{of_type}, log {sample.log}", "bold")
    say(f"  root {sample.root} of {counted(sample.size, 'entry')}, seed {sample.seed}")
    for item in sample.entries:
        say(f"{item.seq}  {item.recorded}  {item.type}  by {item.actor}", "bold" if workpaper is None else "")
        if workpaper is None:
            say(f"  {item.line}")
    if workpaper is not None:
        say(f"  workpaper: {workpaper}")


def tell_diff(diff: Diff) -> None:
    """Print how two exports compare."""
    say(f"{diff.log}", "bold")
    say(f"  A {diff.a.source}: {diff.a.entries} entries")
    say(f"  B {diff.b.source}: {diff.b.entries} entries")
    say(f"  the first {diff.common} are the same, root {diff.common_root}")
    if diff.verdict == "same":
        say("  same: neither has anything beyond", "green")
    elif diff.verdict == "prefix":
        longer, side = ("A", diff.a) if diff.a.beyond else ("B", diff.b)
        say(f"  prefix: {longer} goes on with {side.beyond} more", "green")
    else:
        say(f"  fork: they part at entry {diff.common}", "red")
        say(f"  A has {diff.a.beyond} from there, B {diff.b.beyond}; they differ in {', '.join(diff.differing_fields)}")
        say(f"  A: {diff.a.line}")
        say(f"  B: {diff.b.line}")
    for problem in diff.problems:
        say(f"  problem: {problem}", "red")


def tell_entry(found: Explanation) -> None:
    """Print an entry's explanation."""
    say(f"Entry {found.seq} of {found.log}", "bold")
    say(f"What:    {found.what} ({found.type}, version {found.v})")
    say(f"Who:     {found.who}")
    if found.about:
        say(f"About:   {found.about}")
    later = "" if found.recorded_after_s is None else f", {found.recorded_after_s:.3f} s later"
    say(f"When:    happened {found.happened}, recorded {found.recorded}{later}")
    say(f"Where:   stream {found.stream}, its event {found.stream_version}; unit {found.org_unit or 'none'}")
    say(f"Number:  {found.source_seq} of what {found.source} numbered; event id {found.id}")
    _tell_request(found)
    for place, cause in enumerate(found.causes):
        _tell_related("Because:" if not place else "         because:", cause)
    if found.cause_missing:
        say(f"Because: of event {found.cause_missing}, which is not in these logs")
    for effect in found.effects:
        _tell_related("Led to: ", effect)
    say("Data:")
    for name, value in found.fields.items():
        say(f"  {name}: {value}")
    for note in found.notes:
        say(f"Note:    {note}")


def tell_states(states: Sequence[State]) -> None:
    """Print each service's stream at a time."""
    for state in states:
        what = "what had happened" if state.by == "happened" else "what had been recorded"
        say(f"{state.stream} of {state.source}, {what} by {state.at}", "bold")
        for step in state.steps:
            say(f"  {step.stream_version}  {step.happened}  {step.type}  by {step.actor}")
            say(f"     {step.what} (entry {step.seq} of {step.log})")
            for name, value in step.changed.items():
                say(f"     {name}: {value}")
        say("  As of then:" if state.fields else "  As of then: nothing yet", "bold")
        for name, field in state.fields.items():
            say(f"    {name}: {field.value}  (event {field.stream_version}, {field.set_by})")
        if state.missing:
            shown = ", ".join(map(str, state.missing[:_SHOWN]))
            more = " …" if len(state.missing) > _SHOWN else ""
            say(f"  not in these logs: event {shown}{more} of this stream", "yellow")
        if state.later:
            say(f"  {state.later} came later")


def _tell_request(found: Explanation) -> None:
    if found.correlation is None:
        say("Request: none is named")
        return
    say(f"Request: {found.correlation}, which left {counted(found.same_request_count, 'more entry')} here")
    for run in _runs(found.same_request):
        first, last = run[0], run[-1]
        where = f"entry {first.seq}" if first is last else f"{len(run)} entries, {first.seq} to {last.seq},"
        say(f"         {where} of {first.log}: {first.what} ({first.type})")
    if found.same_request_count > len(found.same_request):
        say(f"         and {found.same_request_count - len(found.same_request)} more")


def _runs(related: Sequence[Related]) -> list[list[Related]]:
    """Put neighbours of one type together."""
    runs: list[list[Related]] = []
    for item in related:
        if runs and (runs[-1][-1].log, runs[-1][-1].type) == (item.log, item.type):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _tell_related(lead: str, related: Related) -> None:
    say(f"{lead} entry {related.seq} of {related.log}: {related.what} ({related.type}, {related.time})")
