"""What operators are told to set and to type exists: values of the chart, options, settings, metrics, errors."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from tallystick_chassis.configuration_reference import services_settings
from tallystick_chassis.metric_catalogue import METRICS, Kind
from tallystick_chassis.process import DUTY_POOL_SIZE, POOL_SIZE
from tallystick_chassis.settings import MigrateSettings, setting_names
from tallystick_chassis.telemetry_reference import prometheus_name
from tallystick_cli.main import app
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import SERVICE_FOLDERS

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/tallystick"
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
PAGES = [
    *(ROOT / "docs/howto" / f"{name}.md" for name in ("install", "upgrade", "rollback", "back-up-and-restore")),
    *(ROOT / "docs/howto" / f"{name}.md" for name in ("restore-a-ledger", "scale", "size", "examine-a-deployment")),
    ROOT / "docs/howto/rotate-keys.md",
    ROOT / "docs/runbooks/kubernetes.md",
    CHART / "UPGRADING.md",
]
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
PATH_OF_A_VALUE = re.compile(r"[a-z]\w*(?:\.(?:\w+(?:-\w+)*|<name>|\*))+")
CAMEL = re.compile(r"[a-z]+(?:[A-Z][a-z]+)+")
FILES = re.compile(r"\.(?:json|md|pem|yaml|sql|dump|key|crt|io|py|org|dev)$")
OURS = re.compile(r"\b((?:tallystick|http|db|process|messaging)_[a-z_]{4,})\b")
ENVIRONMENT_OF_TOOLS = {"TALLY_DIR"}

pages = pytest.mark.parametrize("page", [pytest.param(one, id=one.stem) for one in PAGES])


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield every fenced block with its language, without its indentation and with continued lines joined."""
    for language, body in FENCED.findall(page.read_text()):
        yield language, re.sub(r"\\\n\s*", " ", "\n".join(line.strip() for line in body.splitlines()))


def spans(page: Path) -> list[str]:
    """Return what stands in back-quotes in the prose."""
    return SPAN.findall(FENCED.sub("", page.read_text()))


def is_value(path: str) -> bool:
    """Whether the schema has a value of this path; `<name>` is any service, `*` any key."""
    at: dict[str, Any] = SCHEMA
    for key in path.replace("<name>", "ledger").split("."):  # it has all that any service has
        properties = at.get("properties", {})
        if key == "*":
            return bool(properties)
        if key not in properties:
            return at.get("additionalProperties") not in {False, None} or (at is not SCHEMA and not properties)
        at = properties[key]
    return True


def keys_of_values(at: dict[str, Any]) -> Iterator[str]:
    """Yield every key that is anywhere among the values."""
    for key, below in at.get("properties", {}).items():
        yield key
        yield from keys_of_values(below)


def test_a_path_that_is_no_value_is_noticed() -> None:
    assert is_value("services.<name>.api.replicas")
    assert is_value("networkPolicy.egress.*")
    assert not is_value("networkPolicy.egres.*")
    assert not is_value("services.ledger.api.replica")
    assert not is_value("netwrokPolicy.enabled")


@pages
def test_every_value_that_is_named_is_one_of_the_chart(page: Path) -> None:
    anywhere, events = set(keys_of_values(SCHEMA)), {one.type for one in REGISTRY}
    unknown = []
    for span in spans(page):
        name = span.partition(":")[0].partition("=")[0].strip()
        if PATH_OF_A_VALUE.fullmatch(name) and not FILES.search(name):
            unknown += [] if is_value(name) or name in events else [name]
        elif CAMEL.fullmatch(name) and name not in anywhere:
            unknown.append(name)
    for _, block in blocks(page):
        unknown += [name for name in re.findall(r"--set(?:-string)?[ =]([\w.-]+)=", block) if not is_value(name)]
    assert unknown == []


@pages
def test_every_block_of_values_fits_the_schema(page: Path) -> None:
    for language, body in FENCED.findall(page.read_text()):
        if language == "yaml":
            for path in _leaves(yaml.safe_load(body)):
                assert is_value(path), path


def _leaves(values: object, above: str = "") -> Iterator[str]:
    if isinstance(values, dict):
        for key, below in values.items():
            yield from _leaves(below, f"{above}.{key}" if above else key)
    else:
        yield above


@pages
def test_every_file_of_values_is_there(page: Path) -> None:
    for _, block in blocks(page):
        for file in re.findall(r"--values[ =](\S+)", block):
            assert file == "my-values.yaml" or (ROOT / file).exists(), file


@pages
def test_every_option_of_tally_is_one(page: Path) -> None:
    unknown = []
    for _, block in blocks(page):
        for line in block.splitlines():
            called = re.match(r"(?:\.venv/bin/)?tally ([^#|>]*)", line)
            unknown += _unknown_options(called[1].split()) if called else []
    assert unknown == []


def _unknown_options(words: list[str]) -> Iterator[str]:
    command: Any = typer.main.get_command(app)
    for number, word in enumerate(words):
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        above = " ".join(words[: number + 1])
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    for word in words:
        name = word.partition("=")[0]
        if word.startswith("--") and word != "--" and name not in options:
            yield f"tally {above} {name}"


@pages
def test_every_module_that_is_run_is_there_with_its_command(page: Path) -> None:
    text = page.read_text()
    for package, command in re.findall(r"python -m (tallystick_\w+) ([\w-]+)", text):
        process = importlib.import_module("tallystick_chassis.process")
        service = importlib.import_module(f"{package}.app").SERVICE
        assert command in {"api", "worker", "migrate", "wait", "openapi", *process._commands(service)}, command


@pages
def test_every_setting_is_one(page: Path) -> None:
    known = {name for one in (*services_settings().values(), MigrateSettings) for name in setting_names(one)}
    named = set(re.findall(r"\bTALLY_[A-Z_]+[A-Z]\b", page.read_text()))
    assert named - {f"{name}_FILE" for name in known} - known - ENVIRONMENT_OF_TOOLS == set()


@pages
def test_every_variable_of_make_is_read(page: Path) -> None:
    read = (ROOT / "Makefile").read_text() + (ROOT / "deploy/docker/build").read_text()
    read += (ROOT / "deploy/docker/smoke").read_text()
    for _, block in blocks(page):
        for line in re.findall(r"^make .*", block, re.MULTILINE):
            for variable in re.findall(r" ([A-Za-z_]+)=", line.partition("#")[0]):
                assert re.search(rf"\b{variable}\b", read), variable


@pages
def test_every_metric_is_emitted(page: Path) -> None:
    known = set()
    for metric in METRICS.values():
        name = prometheus_name(metric)
        known |= {name, f"{name}_bucket", f"{name}_count", f"{name}_sum"} if metric.kind is Kind.HISTOGRAM else {name}
        known |= {attribute.replace(".", "_") for attribute in metric.attributes}
    packages = {f"tallystick_{folder.replace('-', '_')}" for folder in SERVICE_FOLDERS.values()}
    named = {name for span in spans(page) for name in OURS.findall(span) if not span.startswith("python")}
    assert named - packages - known == set()


def test_every_last_word_in_the_table_is_said_by_the_code() -> None:
    page = (ROOT / "docs/howto/install.md").read_text().partition("## When something does not start")[2]
    sources = (path for folder in ("libs", "services", "cli") for path in (ROOT / folder).rglob("src/**/*.py"))
    said = "\n".join(path.read_text() for path in sources)
    codes = [code for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for code in SPAN.findall(row)]
    assert len(codes) >= 10
    for code in codes:
        pieces = [piece.strip() for piece in code.split("…") if piece.strip()]
        missing = [piece for piece in pieces if piece not in said]
        assert missing == [], code


def test_the_connections_of_a_pod_are_what_the_pools_hold() -> None:
    for name in ("upgrade", "scale", "size"):
        page = (ROOT / f"docs/howto/{name}.md").read_text()
        assert f"up to {POOL_SIZE + DUTY_POOL_SIZE} " in page, name
