"""`tally audit sample`: the same seed and root give the same entries, and the workpaper is only text."""

import csv
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from tallystick_cli.audit.tabular import safe_cell
from tallystick_tlog import to_base64
from tallystick_tlog.samples import ORIGIN, SIGNER, event, log

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]
Chain = Callable[..., list[bytes]]


def drawn(run: Run, folder: Path, seed: str, *arguments: object) -> list[int]:
    result = run("audit", "sample", folder, "--seed", seed, "--key", KEY, "--json", *arguments)
    assert result.exit_code == 0
    return [item["seq"] for item in json.loads(result.stdout)["entries"]]


def test_anyone_who_follows_the_written_rule_draws_the_same_entries(export: Export, run: Run) -> None:
    size, root = 2000, to_base64(log(2000)[1].root())
    key = sha256(f"tallystick audit sample v1\n{ORIGIN}\n{size}\n{root}\n2026-11-22 heron\n".encode()).digest()
    ranks = sorted(range(size), key=lambda seq: sha256(key + seq.to_bytes(8, "big")).digest())
    assert drawn(run, export(size), "2026-11-22 heron", "--count", 25) == sorted(ranks[:25])


def test_another_seed_or_another_root_gives_another_sample(export: Export, run: Run) -> None:
    folder = export(500)
    first = drawn(run, folder, "one", "--count", 20)
    assert drawn(run, folder, "one", "--count", 20) == first
    assert drawn(run, folder, "two", "--count", 20) != first
    assert drawn(run, export(501, name="more"), "one", "--count", 20) != first
    assert set(drawn(run, folder, "one", "--count", 10)) < set(first)


def test_a_sample_can_be_of_some_types_and_says_of_how_many(export: Export, run: Run, chain: Chain) -> None:
    kinds = ["assessment.score.recorded", "assessment.score.corrected", "assessment.remediation.applied"]
    parts = [
        (event(seq, type=kinds[seq % 3]), {"source_seq": seq // 3 + 1 if seq % 3 == 2 else seq - seq // 3 + 1})
        for seq in range(30)
    ]
    folder = export(chain(parts))
    result = run("audit", "sample", folder, "--seed", "x", "--type", "assessment.score.*", "--json", "--count", 99)
    sample = json.loads(result.stdout)
    assert (sample["count"], sample["population"]) == (20, 20)
    assert {item["type"] for item in sample["entries"]} == set(kinds[:2])


def test_a_type_that_no_entry_has_is_said_to_be_one(export: Export, run: Run) -> None:
    result = run("audit", "sample", export(5), "--seed", "x", "--type", "assessment.scroe.*", "--key", KEY)
    assert result.exit_code == 0
    assert "no entry is of type assessment.scroe.*: the sample is empty" in " ".join(result.stderr.split())


def test_with_a_workpaper_the_terminal_gets_a_list_and_not_the_lines(export: Export, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "workpaper.md"
    arguments = ("audit", "sample", export(50), "--seed", "x", "--count", 3, "--key", KEY)
    assert run(*arguments).stdout.count('{"event":') == 3
    said = run(*arguments, "--out", out).stdout
    assert '{"event":' not in said
    assert f"workpaper: {out}" in said


def test_nothing_is_drawn_from_a_damaged_log(export: Export, run: Run, tmp_path: Path) -> None:
    lines, tree = log(50)
    lines[20] = lines[20].replace(b'"done"', b'"gone"')
    out = tmp_path / "workpaper.md"
    result = run("audit", "sample", export(lines, tree=tree), "--seed", "x", "--key", KEY, "--out", out)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "damaged: entry 20" in result.stderr
    assert not out.exists()


def test_the_workpaper_has_a_row_for_each_entry_and_columns_to_fill_in(
    export: Export, run: Run, chain: Chain, tmp_path: Path
) -> None:
    evil = "=cmd|' /C calc'!A1 | <script>"
    folder = export(chain((event(seq, actor=evil), {}) for seq in range(9)))
    paper, table = tmp_path / "w.md", tmp_path / "w.csv"
    for out in (paper, table):
        assert run("audit", "sample", folder, "--seed", "x", "--count", 4, "--out", out, "--key", KEY).exit_code == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 4
    assert all(row["actor"] == f"'{evil}" and row["checked by"] == "" for row in rows)
    text = paper.read_text()
    assert text.count("\\<script\\>") == 4
    assert "<script" not in text.replace("\\<script", "")
    assert "| Seed | x |" in text
    assert run("audit", "sample", folder, "--seed", "x", "--out", paper).exit_code == 2
    assert paper.read_text() == text


def test_cells_that_a_spreadsheet_would_calculate_are_guarded() -> None:
    for text in ("=1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\uff1d1"):
        assert safe_cell(text) == f"'{text}"
    assert [safe_cell(value) for value in ("a=1", 5, None, "")] == ["a=1", "5", "", ""]


def test_a_seed_is_one_line_and_the_log_one(export: Export, run: Run) -> None:
    folder = export(3)
    assert run("audit", "sample", folder, "--seed", "a\nb").exit_code == 2
    assert run("audit", "sample", folder, "--seed", "").exit_code == 2
    export(3, name="all/a")
    assert run("audit", "sample", export(3, name="all/b").parent, "--seed", "x").exit_code == 2
