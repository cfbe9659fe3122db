"""One process that is kept alive: when it dies it starts again, soon at first and later if it keeps dying."""

import subprocess
import time
from dataclasses import dataclass, field

import structlog

from tallystick_cli.stack.program import Program

_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 5.0
_SETTLED_AFTER_S = 5.0

_log = structlog.get_logger()


@dataclass(slots=True)
class Child:
    """A running or waiting process; `tend` is called a few times a second."""

    program: Program
    process: subprocess.Popen[bytes]
    restarts: int = 0
    _started_at: float = field(default_factory=time.monotonic)
    _delay_s: float = _FIRST_DELAY_S
    _due_at: float | None = None

    @classmethod
    def start(cls, program: Program) -> "Child":
        """Start the program for the first time."""
        return cls(program, program.start())

    @property
    def is_alive(self) -> bool:
        """Whether the process runs now."""
        return self.process.poll() is None

    def tend(self) -> bool:
        """Start the process again if it died and its delay is over; return whether it died or was started."""
        if self.is_alive:
            return False
        now = time.monotonic()
        if self._due_at is None:
            if now - self._started_at > _SETTLED_AFTER_S:
                self._delay_s = _FIRST_DELAY_S
            self._due_at = now + self._delay_s
            self._delay_s = min(self._delay_s * 2, _LONGEST_DELAY_S)
            _log.warning(
                "child_died",
                program=self.program.name,
                exit_status=self.process.returncode,
                restart_in_s=round(self._due_at - now, 1),
            )
            return True
        if now < self._due_at:
            return False
        self._due_at = None
        self._started_at = now
        self.restarts += 1
        self.process = self.program.start()
        return True

    def ask_to_stop(self) -> None:
        """Send the stop signal without waiting."""
        if self.is_alive:
            self.process.send_signal(self.program.stop_signal)

    def wait_until_stopped(self, timeout_s: float) -> None:
        """Wait for the end, and kill the process when it takes longer."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _log.warning("child_killed", program=self.program.name, after_s=timeout_s)
            self.process.kill()
            self.process.wait()
