import json

import typer
from tallystick_cli.operator import commands
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


def test_down_quiet_does_not_mind_that_nothing_runs(tmp_path):
    result = runner.invoke(app, ["down", "--quiet", "--dir", str(tmp_path / "none")])
    assert (result.exit_code, result.output) == (0, "")
    assert runner.invoke(app, ["down", "--dir", str(tmp_path / "none")]).exit_code == 1


def test_without_the_operators_part_a_command_says_what_to_install(tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(commands.importlib, "import_module", missing)
    result = runner.invoke(app, ["up", "--dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "pip install 'tallystick-cli[operator]'" in result.stderr
