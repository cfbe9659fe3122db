import os
import signal
import time
from pathlib import Path

import pytest
from tallystick_cli.stack import control, status
from tallystick_cli.stack.errors import NotRunningError, ServerFailedError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.temporary import temporary_folder


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _descendants(pid):
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *_descendants(int(child))]
    return found


def _wait_until(condition, within_s):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def layout():
    with temporary_folder() as folder:
        yield folder
        if control.is_running(folder):
            control.down(folder)


@pytest.fixture
def running(layout):
    return control.up(layout, servers_only=True)


@pytest.mark.control("X-13")
def test_down_stops_every_process_and_up_continues_on_the_same_ports(layout, running):
    processes = [running.pid, *_descendants(running.pid)]
    control.down(layout)
    assert not any(_alive(pid) for pid in processes)
    again = control.up(layout, servers_only=True)
    assert again.urls == running.urls
    assert again.pid != running.pid


def test_killing_the_supervisor_leaves_no_process(layout, running):
    processes = _descendants(running.pid)
    assert len(processes) > 3
    os.kill(running.pid, signal.SIGKILL)
    _wait_until(lambda: not any(_alive(pid) for pid in processes), within_s=3)
    assert status.read(layout).phase == "stopped"


@pytest.mark.parametrize("name", ["postgres", "nats", "mail"])
def test_a_killed_server_runs_again_within_a_second(layout, running, name):
    os.kill(running.programs[name].pid, signal.SIGKILL)

    def restarted():
        now = status.read(layout).programs[name]
        return now.restarts == running.programs[name].restarts + 1 and now.pid is not None

    _wait_until(restarted, within_s=1)


def test_a_second_up_finds_the_first(layout, running):
    assert control.up(layout).pid == running.pid


def test_down_without_a_supervisor_says_so(tmp_path):
    with pytest.raises(NotRunningError, match="nothing runs in"):
        control.down(Layout.at(tmp_path / "none"))


def test_a_start_that_fails_says_why_and_leaves_nothing_running():
    with temporary_folder() as layout:
        layout.create()
        layout.state_file.write_text("damaged")
        with pytest.raises(ServerFailedError, match="is damaged"):
            control.up(layout, servers_only=True)
        assert status.read(layout).phase == "failed"
        assert not control.is_running(layout)
