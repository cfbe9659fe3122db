"""Where a cold start's time goes: the packages whose modules take longest to import, for each process.

`python -m bench.cold_start_parts [SERVICE-api|SERVICE-worker …]`. The times are Python's own (`-X importtime`), of each
module by itself, added up by package; writing them down makes a start a little longer.
"""

import re
import sys
from collections import Counter
from dataclasses import replace
from typing import Final

from tallystick_cli.stack import boot
from tallystick_cli.stack.temporary import running_servers

from bench.cold_start import Process, processes, started, told

_LINE: Final = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s*([\w.]+)$", re.MULTILINE)
_SHOWN: Final = 14
_FIRST_FEW: Final = 1


def main() -> None:
    """Print a table for each process that was asked for, or for all."""
    wanted = set(sys.argv[1:])
    with running_servers() as running:
        boot.fill(running.servers)
        for process in processes(running.servers):
            if not wanted or process.program.name in wanted:
                _show(process)


def _show(process: Process) -> None:
    for _ in range(_FIRST_FEW):
        with started(process):
            pass
    with started(process) as start:
        sys.stdout.write(f"\n{process.program.name}: {told([start])}\n")
    program = process.program
    log = program.log_file.with_suffix(".imports")
    python, *rest = program.command
    with started(
        Process(replace(program, command=(python, "-X", "importtime", *rest), log_file=log), process.is_ready)
    ):
        pass
    packages: Counter[str] = Counter()
    for microseconds, module in _LINE.findall(log.read_text(errors="replace")):
        packages[module.partition(".")[0]] += int(microseconds)
    sys.stdout.write(f"{packages.total() / 1000:8.0f} ms in all\n")
    for package, microseconds in packages.most_common(_SHOWN):
        sys.stdout.write(f"{microseconds / 1000:8.0f} ms {package}\n")


if __name__ == "__main__":
    main()
