"""What a stack decided at its first start and keeps: its ports."""

import time
from collections.abc import Collection

import msgspec

from tallystick_cli.stack import durable, ports
from tallystick_cli.stack.errors import PortTakenError, StackError
from tallystick_cli.stack.layout import Layout

_POLL_S = 0.05


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The loopback port of every listener, by name."""

    ports: dict[str, int]

    def port(self, name: str) -> int:
        """Return the port of one listener; raise `StackError` when the stack was never started."""
        try:
            return self.ports[name]
        except KeyError:
            msg = f"no port was chosen for {name} yet: run `tally up` first"
            raise StackError(msg) from None


def read(layout: Layout) -> State:
    """Read the stored state; an absent file is an empty state."""
    try:
        return msgspec.json.decode(layout.state_file.read_bytes(), type=State)
    except FileNotFoundError:
        return State(ports={})
    except msgspec.MsgspecError as error:
        msg = f"{layout.state_file} is damaged ({error}): move it away and start again; new ports will be chosen"
        raise StackError(msg) from error


class Moved(msgspec.Struct, frozen=True):
    """A listener that has another port than before."""

    old: int
    new: int


def reserve(layout: Layout, names: Collection[str], *, new_ports: bool = False, patience_s: float = 5.0) -> State:
    """Choose a port for each listener that has none; with `new_ports`, also where another program has taken it.

    Only the supervisor calls this, before it starts anything. It waits `patience_s` for a taken port, which may be
    held by a server of a supervisor that was killed a moment ago.

    Raises:
        PortTakenError: a port is taken and must not change, because links that were handed out hold it.
    """
    deadline = time.monotonic() + patience_s
    before = read(layout)
    chosen: dict[str, int] = dict(before.ports)
    taken = [name for name in names if name in chosen and not _is_free_by(deadline, chosen[name])]
    if taken and not new_ports:
        held = ", ".join(f"{chosen[name]} of {name}" for name in taken)
        msg = (
            f"another program uses port {held} on {ports.LOOPBACK}: end it, or run `tally up --new-ports` "
            "(links that were handed out then stop working)"
        )
        raise PortTakenError(msg)
    for name in names:
        if name in taken or name not in chosen:
            chosen[name] = ports.choose(chosen.values())
    after = State(ports=chosen)
    if after != before:
        durable.replace(layout.state_file, msgspec.json.format(msgspec.json.encode(after)), mode=durable.PUBLIC)
    return after


def _is_free_by(deadline: float, port: int) -> bool:
    while not ports.is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def moved(before: State, after: State) -> dict[str, Moved]:
    """Return the listeners whose port changed, by name."""
    return {
        name: Moved(before.ports[name], port)
        for name, port in after.ports.items()
        if before.ports.get(name, port) != port
    }
