"""The collector is off while a process imports, on again afterwards, and passes over what was there."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from tallystick_chassis.heap import freeze_heap, importing

SERVICES = Path(__file__).parents[3] / "services"


@pytest.fixture(autouse=True)
def _thaw():
    frozen = gc.get_freeze_count()
    yield
    gc.unfreeze()
    if frozen:
        gc.freeze()


def test_nothing_is_collected_while_modules_are_imported_and_what_is_there_then_never():
    gc.unfreeze()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_the_collector_is_on_again_when_an_import_fails():
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_a_started_process_has_its_heap_passed_over():
    gc.unfreeze()
    kept = [[] for _ in range(1_000)]
    freeze_heap()
    assert gc.get_freeze_count() > len(kept)


@pytest.mark.parametrize("main", sorted(SERVICES.glob("*/src/*/__main__.py")), ids=lambda path: path.parent.name)
def test_every_service_is_imported_so(main):
    lines = main.read_text().splitlines()
    inside = lines.index("with importing():")
    assert [line for line in lines[:inside] if "import " in line] == ["from tallystick_chassis.heap import importing"]
