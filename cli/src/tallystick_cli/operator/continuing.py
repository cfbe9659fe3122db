"""`tally doctor --upgrade`: checkpoints kept before an upgrade, and a proof after it that every chain continues.

What is kept is signed, and what is compared is proved by hashes (RFC 9162): the ledger's word is not taken for it. The
key that was pinned with the first run is the one that signatures, and rotations since, must lead back to.
"""

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from tallystick_chassis.doctor import Finding, State
from tallystick_contracts.topology import SERVICE_PACKAGES, ServiceName
from tallystick_ledger.logs.continuing import KeptLog, KeptLogs
from tallystick_tlog import (
    Checkpoint,
    TlogError,
    VerifierKey,
    follow_keys,
    from_base64,
    open_checkpoint,
    verify_consistency,
)

from tallystick_cli.stack import durable
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import Servers

_CHECK = "chain"
_WHAT_TO_DO = "do not go on: keep the database as it is, export what there is, and compare it with kept checkpoints"
_STANDS_STILL = (
    "`tally log breaks`, docs/howto/restore-a-ledger.md; if nobody restored anything, treat it as an intrusion"
)


def compare_or_keep(ask: Callable[[bytes], KeptLogs], file: Path) -> Iterator[Finding]:
    """Keep every log's checkpoint in `file`; where it has some, prove that each log continues from it.

    `ask` gets the logs of now, with proofs from what was kept before (nothing, the first time).
    """
    if not file.exists():
        now = ask(b"")
        yield from (finding for log in now.logs if (finding := _unsigned(log, now)))
        durable.replace(file, msgspec.json.format(msgspec.json.encode(now)))
        said = f"kept the checkpoints of {sum(not log.fault for log in now.logs)} logs in {file}"
        yield Finding(_CHECK, State.OK, said, "upgrade, then run this again")
        return
    try:
        before = msgspec.json.decode(file.read_bytes(), type=KeptLogs)
    except msgspec.DecodeError as error:
        msg = f"{file} holds no kept checkpoints; name a new file to keep them in"
        raise StackError(msg) from error
    yield from compare(before, ask(msgspec.json.encode(before)))


def compare(before: KeptLogs, after: KeptLogs) -> Iterator[Finding]:
    """Prove that each log of `after` begins with the one of `before`; what does not is named, and the others go on."""
    logs = {log.origin: log for log in after.logs}
    yield from (_still(log) for log in after.logs if log.fault)
    continued = grown = 0
    for old in before.logs:
        new = logs.get(old.origin)
        if new is not None and new.fault:
            continue
        wrong = _wrong_with(old, new, before)
        if wrong:
            yield Finding(_CHECK, State.FAILED, f"{old.origin}: {wrong}", _WHAT_TO_DO)
        elif new is not None and new.is_dropped and not old.is_dropped:
            todo = "see that the compliance log has its `ledger.audit_log.dropped`"
            yield Finding(_CHECK, State.WARNING, f"{old.origin} has been dropped after its retention", todo)
        elif old.fault:
            said = f"{old.origin}: no checkpoint of it was kept ({old.fault}), so nothing proves that it continues"
            yield Finding(_CHECK, State.WARNING, said, "keep checkpoints in a new file from now on")
        elif new is not None:
            continued += 1
            grown += new.size - old.size
    fresh = len(logs.keys() - {log.origin for log in before.logs})
    said = f"{continued} of {len(before.logs)} logs continue, by {grown:,} entries; {fresh} logs are new"
    yield Finding(_CHECK, State.OK, said)


def _wrong_with(old: KeptLog, new: KeptLog | None, pinned: KeptLogs) -> str:
    if new is None:
        return "the log is gone"
    if old.is_dropped or new.is_dropped:
        return "" if new.is_dropped else "its content is back after it was dropped"
    if old.fault:
        return ""
    if new.size < old.size:
        return f"it has {new.size} entries and had {old.size}: an older state of the database"
    try:
        first, second = _opened(old, pinned), _opened(new, pinned)
        hashes = [from_base64(part) for part in new.proof]
        verify_consistency(first.size, second.size, hashes, first.root, second.root)
    except (TlogError, ValueError) as error:
        return f"it does not continue: {error}"
    return ""


def _still(log: KeptLog) -> Finding:
    return Finding(_CHECK, State.FAILED, f"{log.origin}: {log.fault}", _STANDS_STILL)


def _unsigned(log: KeptLog, pinned: KeptLogs) -> Finding | None:
    if log.is_dropped:
        return None
    if log.fault:
        return _still(log)
    try:
        _opened(log, pinned)
    except (TlogError, ValueError) as error:
        return Finding(_CHECK, State.FAILED, f"{log.origin}: {error}", _WHAT_TO_DO)
    return None


def _opened(log: KeptLog, pinned: KeptLogs) -> Checkpoint:
    """Return what a log's note signs, under the pinned key or one that signed rotations lead to from it."""
    key = follow_keys(pinned.prefix, base64.b64decode(pinned.ledger_key), log.keys)
    return open_checkpoint(log.note.encode(), [VerifierKey.ed25519(log.origin, key)])


def ask_ledger(servers: Servers, before: bytes) -> KeptLogs:
    """Let the ledger print its checkpoints, in a process with its secrets."""
    program = Program(
        name="ledger-checkpoints",
        command=(
            sys.executable,
            "-m",
            SERVICE_PACKAGES[ServiceName.LEDGER],
            "checkpoints",
            *(("--since",) if before else ()),
        ),
        log_file=servers.layout.log_file("ledger-checkpoints"),
        environment=servers.service_environment(ServiceName.LEDGER),
    )
    done = subprocess.run(program.command, check=False, env=program.full_environment, capture_output=True, input=before)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        msg = f"the ledger does not tell its checkpoints: {said}"
        raise StackError(msg)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=KeptLogs)
