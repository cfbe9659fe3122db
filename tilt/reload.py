"""Run a command, and run it anew when one of our packages changes: what follows Tilt's live update in a pod.

`python reload.py COMMAND…` watches the `tallystick_*` packages of this Python's site-packages. A command that ends by
itself before anything changed ends this too, with its status, as it would without us; one that ends after a change
(a slip of the pen) is waited for to be mended.
"""

import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from types import FrameType

_POLL_S = 0.5
_STOP_S = 20.0


def main(command: list[str], folder: Path) -> int:
    """Run the command until it is told to end; return its exit status."""
    signal.signal(signal.SIGTERM, _told_to_end)
    seen, changed = _fingerprint(folder), False
    child = subprocess.Popen(command)
    try:
        while True:
            time.sleep(_POLL_S)
            now = _fingerprint(folder)
            if now != seen:
                now = _settled(folder, now)
                seen, changed = now, True
                sys.stderr.write("reload: our code changed\n")
                _stop(child)
                child = subprocess.Popen(command)
            elif child.poll() is not None and not changed:
                return child.returncode
    except SystemExit:
        return _stop(child)


def _fingerprint(folder: Path) -> frozenset[tuple[str, int, int]]:
    found = set()
    for path in folder.glob("tallystick_*/**/*.py"):
        try:
            what = path.stat()
        except FileNotFoundError:  # replaced at this moment
            continue
        found.add((str(path), what.st_mtime_ns, what.st_size))
    return frozenset(found)


def _settled(folder: Path, now: frozenset[tuple[str, int, int]]) -> frozenset[tuple[str, int, int]]:
    """Wait until nothing changes any more: an update has many files."""
    while True:
        time.sleep(_POLL_S)
        later = _fingerprint(folder)
        if later == now:
            return later
        now = later


def _stop(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    try:
        return child.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _told_to_end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(sysconfig.get_path("purelib"))))
