"""A folder for one stack, erased afterwards."""

from collections.abc import Iterator

import pytest
from tallystick_cli.stack import control
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.temporary import temporary_folder


@pytest.fixture
def layout() -> Iterator[Layout]:
    """Return an empty stack folder with its subfolders made."""
    with temporary_folder() as folder:
        folder.create()
        yield folder
        if control.is_running(folder):
            control.down(folder)
