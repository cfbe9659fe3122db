"""Python's garbage collector, kept off what stays for as long as the process.

A full collection looks at every object there is. A process of ours has 110,000 when it has imported its modules, and
none of them is garbage: looking at them again and again took a quarter of a start, and of the ledger's writer.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def importing() -> Iterator[None]:
    """Import what a process is made of: nothing is collected meanwhile, and what is there then never looked at."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def freeze_heap() -> None:
    """Have the collector pass over all that is there now, such as routes, settings and pools."""
    gc.collect()
    gc.freeze()
