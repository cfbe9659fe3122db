"""The running system as the tests of the whole see it: one furnished house for a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sweep.house import House, open_house
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.status import Status


@pytest.fixture(scope="session")
def layout(system: Status) -> Layout:
    """The running system's folder."""
    return Layout.at(Path(str(system.ca_file)).parent.parent)


@pytest.fixture(scope="session")
def house(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(layout, tmp_path_factory.mktemp("sweep")) as made:
        yield made
