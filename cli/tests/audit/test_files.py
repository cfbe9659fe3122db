"""`tally audit report` and `export-as`: files made of logs that hold, with nothing in them that acts."""

import csv
import importlib.util
import json
import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tallystick_cli.audit.profile import MAX_BUCKETS, MAX_TYPES, OTHER_TYPES, Profile
from tallystick_cli.audit.records import read_record
from tallystick_tlog import leaf_hash, to_base64
from tallystick_tlog.samples import SIGNER, event, log

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]
Chain = Callable[..., list[bytes]]
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&\u202e"


class Page(HTMLParser):
    """Collects tags and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "rect", "line"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that tags nest."""
        if tag not in {"rect", "line"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data


def report(run: Run, out: Path, *folders: Path, status: int = 0) -> Page:
    assert run("audit", "report", *folders, "--out", out, "--key", KEY).exit_code == status
    page = Page(out.read_text())
    assert page.open == []
    return page


def test_the_report_says_what_was_found_and_ends_with_what_it_cannot_show(
    export: Export, run: Run, tmp_path: Path
) -> None:
    page = report(run, tmp_path / "r.html", export(40))
    assert "Intact, authenticated by the pinned key" in page.text
    assert "40 entries" in page.text
    assert "assessment.remediation.applied" in page.text
    assert page.text.rindex("What this replay cannot show") > page.text.rindex("Entries by type")
    assert "never numbered" in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    assert [attrs["lang"] for tag, attrs in page.tags if tag == "html"] == ["en"]


def test_the_page_may_do_nothing_but_apply_its_own_style(export: Export, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    page = report(run, out, export(3))
    (policy,) = (attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", out.read_text(), re.DOTALL)
    assert style is not None
    expected = b64encode(sha256(style[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{expected}'"
    names = {name for _, attrs in page.tags for name in attrs}
    assert names.isdisjoint({"style", "src", "href", "onload", "onclick"})
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "link", "iframe", "form", "a", "object"})


def test_a_logs_text_stays_text(export: Export, run: Run, chain: Chain, tmp_path: Path) -> None:
    kinds = [event(0, type=f"a.b.{EVIL}"), event(1, source=EVIL, type="x.<b>.y")]
    folder = export(chain((kind, {"source_seq": 1}) for kind in kinds), name="<i>log")
    page = report(run, tmp_path / "r.html", folder)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "b", "i"})
    assert "<script>alert(1)</script>" in page.text
    assert "\u202e" not in page.text


def test_damage_is_on_the_page_and_in_the_status(export: Export, run: Run, tmp_path: Path) -> None:
    lines, tree = log(50)
    lines[20] = lines[20].replace(b'"done"', b'"gone"')
    page = report(run, tmp_path / "r.html", export(lines, tree=tree), status=1)
    assert "Damaged" in page.text
    assert "entry 21 records another hash of it" in page.text
    (tmp_path / "log" / "checkpoint").write_bytes(b"\xff")
    assert "not one" in report(run, tmp_path / "s.html", tmp_path / "log", status=1).text
    assert run("audit", "report", tmp_path / "log", "--out", tmp_path / "s.html").exit_code == 2


def test_an_empty_log_and_several_logs_have_a_report(export: Export, run: Run, tmp_path: Path) -> None:
    export(0, name="all/a")
    page = report(run, tmp_path / "r.html", export(5, name="all/b").parent, export(2, name="c"))
    assert "7 entries of 3 logs" in " ".join(page.text.split())


def test_a_profile_is_bounded_however_long_and_varied_the_log(chain: Chain) -> None:
    profile = Profile()
    times = [f"20{at // 12:02}-{at % 12 + 1:02}-01T00:00:00.000000Z" for at in range(1, 400)]
    for line, time in zip(chain((event(at, type=f"a.b{at}.c"), {}) for at in range(399)), times, strict=True):
        profile.add(read_record(line.replace(b"2026-11-21T23:34:05.123456Z", time.encode())))
    assert len(profile.types) == MAX_TYPES + 1
    assert profile.types[OTHER_TYPES].count == 399 - MAX_TYPES
    assert len(profile.totals()) <= MAX_BUCKETS
    assert sum(profile.totals()) == profile.entries == 399
    assert [len(profile.silences()), profile.silences()[0].seconds] == [5, 31 * 86_400.0]


def test_ndjson_is_the_log_byte_for_byte(export: Export, run: Run, tmp_path: Path) -> None:
    folder, out = export(3000), tmp_path / "out.ndjson"
    assert run("audit", "export-as", folder, "--format", "ndjson", "--out", out, "--key", KEY).exit_code == 0
    assert out.read_bytes() == (folder / "entries.ndjson").read_bytes()


def test_csv_has_a_row_for_each_entry_and_no_formula(export: Export, run: Run, chain: Chain, tmp_path: Path) -> None:
    lines = chain((event(at, actor="=1+1", subject='a,"b\nc'), {}) for at in range(20))
    out = tmp_path / "out.csv"
    assert run("audit", "export-as", export(lines), "--format", "csv", "--out", out, "--key", KEY).exit_code == 0
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["seq"]) for row in rows] == list(range(20))
    assert {row["actor"] for row in rows} == {"'=1+1"}
    assert {row["subject"] for row in rows} == {'a,"b\nc'}
    assert [row["leaf_hash"] for row in rows] == [to_base64(leaf_hash(line)) for line in lines]
    assert json.loads(rows[7]["data"])["count"] == 7


def test_a_damaged_log_gives_no_file(export: Export, run: Run, tmp_path: Path) -> None:
    lines, tree = log(50)
    lines[20] = lines[20].replace(b'"done"', b'"gone"')
    folder = export(lines, tree=tree)
    result = run("audit", "export-as", folder, "--format", "csv", "--out", tmp_path / "out.csv", "--key", KEY)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "damaged: entry 20" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_parquet_needs_its_extra_and_holds_the_same_rows(export: Export, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    result = run("audit", "export-as", export(3000), "--format", "parquet", "--out", out, "--key", KEY)
    if importlib.util.find_spec("pyarrow") is None:
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "tallystick-cli[parquet]" in result.stderr
        assert not out.exists()
        return
    assert result.exit_code == 0
    table = pytest.importorskip("pyarrow.parquet").read_table(out)
    assert table.column("seq").to_pylist() == list(range(3000))
    assert table.column("leaf_hash").to_pylist() == [to_base64(leaf_hash(line)) for line in log(3000)[0]]
