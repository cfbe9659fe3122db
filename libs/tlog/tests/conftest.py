"""Where the public test vectors are."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Give the folder of vectors nobody in this project wrote; without it these tests fail, they do not skip."""
    folder = Path(os.environ.get("TALLY_VECTORS", REPOSITORY.parent / "shared" / "vectors"))
    if not folder.is_dir():
        pytest.fail(f"there are no public test vectors at {folder}: set TALLY_VECTORS to their folder", pytrace=False)
    return folder
