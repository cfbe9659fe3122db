import json
import shutil

import pytest
import typer
from tallystick_cli.operator import commands, running
from tallystick_cli.stack import boot
from typer.testing import CliRunner

app = typer.Typer()
commands.register(app)
runner = CliRunner()


def test_status_of_nothing_is_json_for_programs_and_not_ready(tmp_path):
    result = runner.invoke(app, ["status", "--json", "--dir", str(tmp_path / "none")])
    assert result.exit_code == 3
    assert json.loads(result.stdout)["phase"] == "stopped"


def test_errors_are_one_line_that_says_what_to_do(tmp_path):
    result = runner.invoke(app, ["serve", "ledger", "worker", "--dir", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "run `tally up` first" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ledger", "bogus"], "tally: there is no role bogus: choose one of api, worker, migrate\n"),
        (["bogus"], "tally: there is no service bogus: choose one of identity, "),
    ],
)
def test_an_unknown_service_or_role_is_misuse_and_names_those_there_are(tmp_path, arguments, complaint):
    result = runner.invoke(app, ["serve", *arguments, "--dir", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert result.stderr.startswith(complaint)


def test_erasing_takes_what_the_stack_made_and_leaves_what_others_put_there(layout):
    boot.prepare(layout)
    report = layout.root / "demo" / "report.json"
    report.parent.mkdir()
    report.write_text("{}")
    result = runner.invoke(app, ["down", "--erase", "--dir", str(layout.root)])
    assert (result.exit_code, [path.name for path in layout.root.iterdir()]) == (0, ["demo"])
    assert report.read_text() == "{}"
    assert "keeps what the stack did not make: demo" in result.stdout
    shutil.rmtree(report.parent)
    assert runner.invoke(app, ["down", "--erase", "--dir", str(layout.root)]).exit_code == 0
    assert not layout.root.exists()


def test_down_quiet_does_not_mind_that_nothing_runs(tmp_path):
    result = runner.invoke(app, ["down", "--quiet", "--dir", str(tmp_path / "none")])
    assert (result.exit_code, result.output) == (0, "")
    assert runner.invoke(app, ["down", "--dir", str(tmp_path / "none")]).exit_code == 1


def test_without_the_operators_part_a_command_says_what_to_install(tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(running.importlib, "import_module", missing)
    result = runner.invoke(app, ["up", "--dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "pip install 'tallystick-cli[operator]'" in result.stderr
