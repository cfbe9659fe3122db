"""One pass over a log that verifies it and gives its lines on the way."""

from collections.abc import Iterator

from tallystick_tlog import VerifierKey

from tallystick_cli.audit.blocks import read_blocks
from tallystick_cli.audit.drive import Advance, is_over
from tallystick_cli.audit.fast import Series
from tallystick_cli.audit.findings import Report
from tallystick_cli.audit.sources import LogSource
from tallystick_cli.audit.verify import Verification


class Walk:
    """A verifying pass: take all :meth:`lines`, then ask for the :meth:`report`.

    A line is given when it and all before it hold together; only the report at the end says whether the signed root is
    theirs.
    """

    def __init__(self, source: LogSource, keys: tuple[VerifierKey, ...]) -> None:
        """Read and check the checkpoint.

        Raises:
            AuditError: the source cannot be read.

        """
        self._source = source
        self._verification = Verification(source, keys)
        self.checkpoint = self._verification.checkpoint

    def lines(self, advance: Advance) -> Iterator[tuple[int, list[bytes]]]:
        """Give consecutive lines, without line feeds, with the first one's seq; none beyond the checkpoint.

        Raises:
            AuditError: the source cannot be read.

        """
        replay = self._verification.replay
        if replay is None or self.checkpoint is None:
            return
        with self._source.open_entries() as stream:
            for block in read_blocks(stream.read):
                start = replay.tree.end
                replay.add(block)
                held = min(replay.tree.end, self.checkpoint.size) - start
                if held > 0:
                    yield start, block.data.split(b"\n", held)[:held]
                advance(len(block.data))
                if is_over(replay, self.checkpoint.size):
                    return

    def report(self) -> Report:
        """Say whether the log holds."""
        return self._verification.report()

    def series(self) -> tuple[Series, ...]:
        """List each source and aggregate with the first and last number seen."""
        return self._verification.replay.series() if self._verification.replay else ()


def bare_lines(source: LogSource, size: int, advance: Advance) -> Iterator[list[bytes]]:
    """Give up to ``size`` lines as they stand, without line feeds and unverified.

    A line longer than an entry may be is the last and cut short, so its hash is no entry's.

    Raises:
        AuditError: the source cannot be read.

    """
    left = size
    with source.open_entries() as stream:
        for block in read_blocks(stream.read):
            if not left:
                return
            lines = block.data.split(b"\n")
            if not lines[-1]:
                lines.pop()
            lines = lines[:left]
            left -= len(lines)
            yield lines
            advance(len(block.data))
