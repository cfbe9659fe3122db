"""`tally audit diff`: where two exports of one log part."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tallystick_tlog import Signer
from tallystick_tlog.samples import SIGNER, event, log

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]


def compared(run: Run, a: Path, b: Path, status: int) -> dict[str, Any]:
    result = run("audit", "diff", a, b, "--json", "--key", KEY)
    assert result.exit_code == status
    return dict(json.loads(result.stdout))


def test_equal_exports_are_the_same(export: Export, run: Run) -> None:
    for size in (0, 1, 3000):
        found = compared(run, export(size, name="a"), export(size, name="b"), 0)
        assert (found["verdict"], found["common"], found["problems"]) == ("same", size, [])


def test_a_longer_export_goes_on_from_the_shorter(export: Export, run: Run) -> None:
    found = compared(run, export(1200, name="a"), export(3000, name="b"), 0)
    assert (found["verdict"], found["common"], found["a"]["beyond"], found["b"]["beyond"]) == ("prefix", 1200, 0, 1800)
    assert compared(run, export(5, name="c"), export(0, name="d"), 0)["verdict"] == "prefix"


def test_two_histories_part_at_their_first_difference(
    export: Export, run: Run, chain: Callable[..., list[bytes]]
) -> None:
    other = chain((event(seq, **({"actor": "someone else"} if seq >= 700 else {})), {}) for seq in range(900))
    found = compared(run, export(1500, name="a"), export(other, name="b"), 1)
    assert (found["verdict"], found["common"]) == ("fork", 700)
    assert found["differing_fields"] == ["event.actor"]
    assert (found["a"]["beyond"], found["b"]["beyond"]) == (800, 200)
    assert found["a"]["matches_checkpoint"]
    assert found["b"]["matches_checkpoint"]
    words = run("audit", "diff", export(1500, name="a"), export(other, name="b")).stdout
    assert "they part at entry 700" in words


def test_an_export_that_is_not_its_checkpoints_is_a_problem(export: Export, run: Run) -> None:
    lines, tree = log(5)
    lines[2] = lines[2].replace(b'"done"', b'"gone"')
    found = compared(run, export(5, name="a"), export(lines, tree=tree, name="b"), 1)
    assert (found["verdict"], found["common"], found["b"]["matches_checkpoint"]) == ("fork", 2, False)
    assert compared(run, export(5, name="a"), export(log(3)[0], tree=tree, name="b"), 1)["verdict"] == "prefix"
    forged = export(5, name="c", signer=Signer(SIGNER.verifier.name, bytes(32)))
    assert len(compared(run, export(5, name="a"), forged, 1)["problems"]) == 1


def test_exports_of_two_logs_cannot_be_compared(export: Export, run: Run) -> None:
    other = export(0, name="b", signer=Signer("tally.example/other/compliance", bytes(32)))
    result = run("audit", "diff", export(3, name="a"), other)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_garbage_is_compared_without_a_traceback(export: Export, run: Run) -> None:
    a, b = export(3, name="a"), export(3, name="b")
    (b / "entries.ndjson").write_bytes(b"\xff" * 200_000)
    assert compared(run, a, b, 1)["common"] == 0
    (b / "checkpoint").write_bytes(b"\xff")
    assert run("audit", "diff", a, b).exit_code == 2


def test_lines_that_are_nested_too_deeply_to_compare_are_shown(export: Export, run: Run) -> None:
    a, b = export(3, name="a"), export(3, name="b")
    for depth in range(300, 1_000, 25):
        for folder, last in ((a, b"1"), (b, b"2")):
            (folder / "entries.ndjson").write_bytes(b'{"a":' * depth + last + b"}" * depth + b"\n")
        found = compared(run, a, b, 1)
        assert found["a"]["line"].startswith('{"a":{"a":')
