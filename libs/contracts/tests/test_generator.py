"""What is generated is what the proto files say, and a proto file that breaks a rule is refused."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from tallystick_contracts.generate import GENERATED, PROTO_ROOT, differences, render, write
from tallystick_contracts.generator.schema import SchemaError, load_schema


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    return render(PROTO_ROOT)


def test_the_generated_files_are_those_the_proto_files_give(rendered: dict[str, str]) -> None:
    assert differences(rendered, GENERATED) == []


def test_a_stale_a_missing_and_a_left_over_file_are_all_named(rendered: dict[str, str], tmp_path: Path) -> None:
    write(rendered, tmp_path)
    assert differences(rendered, tmp_path) == []
    (tmp_path / "ledger.py").write_text(rendered["ledger.py"] + "\n")
    (tmp_path / "privacy.py").unlink()
    (tmp_path / "retired.py").write_text("")
    assert differences(rendered, tmp_path) == ["ledger.py", "privacy.py", "retired.py"]
    write(rendered, tmp_path)
    assert differences(rendered, tmp_path) == []


def test_buf_lint_accepts_the_proto_files() -> None:
    buf = shutil.which("buf", path=sysconfig.get_path("scripts"))
    assert buf is not None
    done = subprocess.run([buf, "lint"], cwd=PROTO_ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


GOOD_OPTION = """
  option (tallystick.options.v1.event) = {
    type: "try.thing.done"
    version: 1
    log: LOG_AUDIT
    ocsf_class: 3004
    ocsf_activity: 1
    summary: "A thing was done."
  };
"""
GOOD_FIELD = "string thing_id = 1 [(tallystick.options.v1.pii) = PII_CLASS_P0];"


def proto(field: str = GOOD_FIELD, option: str = GOOD_OPTION, name: str = "ThingDone", more: str = "") -> str:
    return f"""
syntax = "proto3";
package tallystick.try.v1;
import "tallystick/common/v1/sealed.proto";
import "tallystick/options/v1/options.proto";
message Unused {{ tallystick.common.v1.Sealed box = 1 [(tallystick.options.v1.pii) = PII_CLASS_P2]; }}
message {name} {{ {option} {field} }}
{more}
"""


@pytest.fixture
def proto_root(tmp_path: Path) -> Path:
    for package in ("options", "common"):
        shutil.copytree(PROTO_ROOT / "tallystick" / package, tmp_path / "tallystick" / package)
    (tmp_path / "tallystick" / "try" / "v1").mkdir(parents=True)
    return tmp_path


def load(proto_root: Path, text: str) -> None:
    (proto_root / "tallystick" / "try" / "v1" / "events.proto").write_text(text)
    load_schema(proto_root)


def test_a_file_that_keeps_the_rules_is_accepted(proto_root: Path) -> None:
    load(proto_root, proto())


P0 = "[(tallystick.options.v1.pii) = PII_CLASS_P0]"
P2 = "[(tallystick.options.v1.pii) = PII_CLASS_P2]"
P3 = "[(tallystick.options.v1.pii) = PII_CLASS_P3]"
ITSELF = "message Loop { Loop loop = 1 [(tallystick.options.v1.pii) = PII_CLASS_P0]; }"
PUBLIC = GOOD_OPTION.replace("version: 1", "version: 1 public: true")
SECOND = GOOD_OPTION.replace("version: 1", "version: 2")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (proto("string thing_id = 1;"), "no PII class"),
        (proto("string thing_id = 1 [(tallystick.options.v1.pii) = PII_CLASS_UNSPECIFIED];"), "no PII class"),
        (proto(f"string token = 1 {P3};"), "P3 is forbidden"),
        (proto(f"string email = 1 {P2};"), "P2 and"),
        (proto(f"tallystick.common.v1.Sealed email = 1 {P0};"), "P2 and"),
        (proto(f"double points = 1 {P0};"), "no floats"),
        (proto(f"float points = 1 {P0};"), "no floats"),
        (proto(f"int64 points = 1 {P0};"), "64-bit"),
        (proto(f"uint64 points = 1 {P0};"), "64-bit"),
        (proto(f"bytes box = 1 {P0};"), "bytes"),
        (proto(f"map<string, string> names = 1 {P0};"), "maps"),
        (proto(f"oneof which {{ string a = 1 {P0}; string b = 2 {P0}; }}"), "oneof"),
        (proto(more=ITSELF), "contains itself"),
        (proto(name="ThingMade"), "is called ThingDone"),
        (proto(option=SECOND), "is called ThingDoneV2"),
        (proto(option=GOOD_OPTION.replace("try.thing", "other.thing")), "is not 'try.<aggregate>.<verb>'"),
        (proto(option=GOOD_OPTION.replace("LOG_AUDIT", "LOG_UNSPECIFIED")), "names its type, version, log"),
        (proto(option=GOOD_OPTION.replace("version: 1", "version: 0")), "names its type, version, log"),
        (proto(f"tallystick.common.v1.Sealed email = 1 {P2};", PUBLIC), "a public event holds nothing personal"),
        (proto("this is not proto"), "protoc refused"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_by_name(proto_root: Path, text: str, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        load(proto_root, text)
