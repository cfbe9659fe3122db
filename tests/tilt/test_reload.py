"""What starts a service again in a pod, after Tilt has put changed files there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RELOAD = Path(__file__).parents[2] / "tilt/reload.py"
SERVICE = """
import signal, sys, time
from pathlib import Path
import tallystick_made_up
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
with Path(sys.argv[1]).open("a") as said:
    said.write(f"{tallystick_made_up.VERSION}\\n")
time.sleep(60)
"""


@pytest.fixture
def site(tmp_path):
    package = tmp_path / "site" / "tallystick_made_up"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VERSION = 1\n")
    (tmp_path / "service.py").write_text(SERVICE)
    return tmp_path


def _start(site, *command):
    runner = f"import runpy, sys; main = runpy.run_path({str(RELOAD)!r})['main']; from pathlib import Path; "
    runner += f"sys.exit(main(sys.argv[1:], Path({str(site / 'site')!r})))"
    environment = {**os.environ, "PYTHONPATH": str(site / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen([sys.executable, "-c", runner, *command], env=environment)


def _until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_change_starts_the_command_again_also_after_a_slip_and_its_end_is_ours(site):
    said = site / "said"
    said.touch()
    running = _start(site, sys.executable, str(site / "service.py"), str(said))
    package = site / "site" / "tallystick_made_up" / "__init__.py"
    try:
        _until(lambda: said.read_text() == "1\n")
        package.write_text("VERSION = 22\n")
        _until(lambda: said.read_text() == "1\n22\n")
        package.write_text("VERSION = (\n")
        time.sleep(2)
        assert running.poll() is None  # it waits for the slip to be mended
        package.write_text("VERSION = 333\n")
        _until(lambda: said.read_text() == "1\n22\n333\n")
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 7


def test_a_command_that_ends_by_itself_ends_with_its_status(site):
    assert _start(site, sys.executable, "-c", "raise SystemExit(3)").wait(30) == 3
