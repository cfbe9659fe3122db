import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nats
import pytest
from tallystick_cli.operator import actions
from tallystick_cli.stack import control, postgres_home, state, status
from tallystick_cli.stack.errors import AlreadyRunningError, NotRunningError, ServerFailedError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.nats import Nats
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.temporary import temporary_folder
from tallystick_contracts.topology import DURABLES, EVENT_STREAM, STREAM_SUBJECTS


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
    _wait_until(lambda: status.read(layout).phase == "stopped", within_s=3)
    # Started anew at once, it waits for the ports its predecessor's servers still hold.
    assert control.up(layout, servers_only=True).urls == running.urls
    _wait_until(lambda: not any(_alive(pid) for pid in processes), within_s=3)


def test_an_attached_stack_stops_when_its_caller_is_killed():
    script = (
        "import time; from tallystick_cli.stack import control; from tallystick_cli.stack.layout import Layout\n"
        "with control.attached(Layout.at({!r}), servers_only=True): time.sleep(60)"
    )
    with temporary_folder() as layout:
        caller = subprocess.Popen([sys.executable, "-c", script.format(str(layout.root))])
        _wait_until(lambda: status.read(layout).phase == "ready", within_s=30)
        processes = [status.read(layout).pid, *_descendants(status.read(layout).pid)]
        caller.kill()
        caller.wait()
        _wait_until(lambda: not any(_alive(pid) for pid in processes), within_s=10)
        last = layout.log_file("postgres").read_text().strip().splitlines()[-1]
        assert "database system is shut down" in last


def test_ctrl_c_stops_a_supervisor_in_the_foreground_cleanly():
    with temporary_folder() as layout:
        command = [sys.executable, "-m", "tallystick_cli.stack.supervisor", str(layout.root), "--servers-only"]
        supervisor = subprocess.Popen(command)
        _wait_until(lambda: status.read(layout).phase == "ready", within_s=30)
        processes = _descendants(supervisor.pid)
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(20) == 0
        assert not any(_alive(pid) for pid in processes)
        assert status.read(layout).phase == "stopped"


@pytest.mark.parametrize("name", ["postgres", "nats", "mail"])
def test_a_killed_server_runs_again_within_a_second(layout, running, name):
    os.kill(running.programs[name].pid, signal.SIGKILL)

    def restarted():
        now = status.read(layout).programs[name]
        return now.restarts == running.programs[name].restarts + 1 and now.pid is not None

    _wait_until(restarted, within_s=1)


def _expect_streams_after(layout, loss):
    server = Nats(0, state.read(layout).port("nats-monitor"), Program("nats", (), layout.log_file("nats")))
    everything = len(STREAM_SUBJECTS), len(DURABLES)
    _wait_until(lambda: server.holdings() == everything, within_s=10)
    loss()
    _wait_until(lambda: server.holdings() != everything, within_s=3)
    _wait_until(lambda: server.holdings() == everything, within_s=10)


def test_a_nats_that_comes_back_without_its_store_has_its_streams_again(layout, running):
    def loss():
        shutil.rmtree(layout.nats / "store")
        os.kill(running.programs["nats"].pid, signal.SIGKILL)

    _expect_streams_after(layout, loss)


def test_a_stream_that_was_deleted_is_made_again(layout, running):
    async def delete():
        connection = await nats.connect(
            f"tls://{LOOPBACK}:{state.read(layout).port('nats')}",
            nkeys_seed_str=(layout.secrets / "nats-admin.seed").read_text(),
            tls=ssl.create_default_context(cafile=running.ca_file),
        )
        await connection.jetstream().delete_stream(EVENT_STREAM)
        await connection.close()

    _expect_streams_after(layout, lambda: asyncio.run(delete()))


def test_a_second_up_finds_the_first(layout, running):
    assert control.up(layout, servers_only=True).pid == running.pid
    with pytest.raises(AlreadyRunningError, match="only the servers run"):
        control.up(layout)


def test_down_without_a_supervisor_says_so(tmp_path):
    with pytest.raises(NotRunningError, match="nothing runs in"):
        control.down(Layout.at(tmp_path / "none"))


def test_down_stops_a_supervisor_whose_folder_was_removed_and_says_what_it_cannot_know(capsys):
    with temporary_folder() as layout:
        control.up(layout, servers_only=True)
        (pid,) = control.supervisors(layout)
        processes = [pid, *_descendants(pid)]
        elsewhere = postgres_home.moved_to(layout)
        shutil.rmtree(layout.root)
        assert not control.is_running(layout)
        assert actions.down(layout.root, quiet=False, erase=True) == 0
        said = capsys.readouterr().out
        if elsewhere is not None:
            shutil.rmtree(elsewhere)
        assert not any(_alive(pid) for pid in processes)
        assert "stopped what ran; there was nothing to erase" in said
        assert str(postgres_home.REACHABLE_BY_ALL) in said
        assert actions.down(layout.root, quiet=False, erase=True) == 0
        assert "found nothing that runs; there was nothing to erase" in capsys.readouterr().out


def test_a_start_that_fails_says_why_and_leaves_nothing_running():
    with temporary_folder() as layout:
        layout.create()
        layout.state_file.write_text("damaged")
        with pytest.raises(ServerFailedError, match="is damaged"):
            control.up(layout, servers_only=True)
        assert status.read(layout).phase == "failed"
        assert not control.is_running(layout)


def test_a_taken_port_stops_the_start_until_new_ports_are_asked_for_and_the_warning_says_what_moved(capsys):
    with temporary_folder() as layout, socket.create_server((LOOPBACK, 0)) as stranger:
        layout.create()
        old = stranger.getsockname()[1]
        layout.state_file.write_text(f'{{"ports": {{"ledger": {old}}}}}')
        with pytest.raises(ServerFailedError, match=f"uses port {old} of ledger"):
            control.up(layout, servers_only=True)
        capsys.readouterr()
        try:
            assert actions.up(layout.root, servers_only=True, new_ports=True) == 0
            said = capsys.readouterr()
            new = state.read(layout).port("ledger")
            assert f"WARNING: ledger moved from port {old}, which another program uses, to {new}." in said.err
            assert f"{layout.root}: starting Postgres and NATS\n" in said.out  # no terminal: a line a phase
            assert actions.show_status(layout.root, as_json=True) == 0
            assert json.loads(capsys.readouterr().out)["moved"] == {"ledger": {"old": old, "new": new}}
        finally:
            control.down(layout)


def test_a_second_supervisor_refuses_and_one_that_is_asked_about_starts(tmp_path):
    layout = Layout.at(tmp_path / "stack")
    layout.create()
    asking = threading.Event()

    def ask():
        while not asking.is_set():
            control.is_running(layout)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(ask)
        try:
            for _ in range(50):
                with status.sole_supervisor(layout):
                    assert control.is_running(layout)
        finally:
            asking.set()
    with status.sole_supervisor(layout), pytest.raises(AlreadyRunningError), status.sole_supervisor(layout):
        pass
