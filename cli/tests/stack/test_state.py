import socket
import subprocess
import sys

import pytest
from tallystick_cli.stack import ports, state
from tallystick_cli.stack.errors import PortTakenError, StackError


def test_ports_are_below_the_ephemeral_range_and_kept(layout):
    first = state.reserve(layout, ["a", "b"])
    assert state.reserve(layout, ["a", "b"]) == first
    assert len(set(first.ports.values())) == 2
    assert all(15_000 <= port < 32_768 for port in first.ports.values())


def test_a_port_that_a_stranger_took_is_named_and_kept(layout):
    before = state.reserve(layout, ["a", "b"])
    port = before.port("a")
    complaint = f"uses port {port} of a on .* `tally up --new-ports`"
    with socket.create_server((ports.LOOPBACK, port)), pytest.raises(PortTakenError, match=complaint):
        state.reserve(layout, ["a", "b"], patience_s=0)
    assert state.reserve(layout, ["a", "b"]) == before


def test_a_port_that_a_stranger_took_is_chosen_anew_when_that_is_asked_for(layout):
    before = state.reserve(layout, ["a", "b"])
    with socket.create_server((ports.LOOPBACK, before.port("a"))):
        after = state.reserve(layout, ["a", "b"], new_ports=True, patience_s=0)
    assert state.moved(before, after) == {"a": state.Moved(before.port("a"), after.port("a"))}
    assert state.read(layout) == after


def test_a_damaged_state_file_is_an_error_that_says_what_to_do(layout):
    layout.state_file.write_text('{"ports": ')
    with pytest.raises(StackError, match=r"is damaged .*: move it away and start again"):
        state.read(layout)


def test_a_stack_that_never_started_has_no_ports(layout):
    with pytest.raises(StackError, match="run `tally up` first"):
        state.read(layout).port("identity")


def test_stacks_that_start_at_once_choose_no_port_twice():
    code = "from tallystick_cli.stack import ports; print(*(ports.choose() for _ in range(40)))"
    starting = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    chosen = [port for one in starting for port in one.communicate()[0].split()]

    assert len(chosen) == len(set(chosen)) == 160


def test_a_port_is_not_chosen_again_before_all_others_were():
    assert ports.choose() != ports.choose()
