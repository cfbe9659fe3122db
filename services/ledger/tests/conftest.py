"""The two places where high-water marks may be: what holds of one holds of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from bucket import NAME, Bucket, bucket
from tallystick_ledger.high_water.guard import HighWater
from tallystick_ledger.high_water.place import open_at


@pytest.fixture(scope="session")
def served_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with bucket(tmp_path_factory.mktemp("bucket")) as served:
        yield served


@pytest.fixture
def store(served_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An object store over HTTP that does what a test tells it to, and that the environment says how to reach."""
    for name, value in served_bucket.environment().items():
        monkeypatch.setenv(name, value)
    served_bucket.mend()
    yield served_bucket
    served_bucket.mend()


@pytest.fixture(params=["file", "objects"])
def address_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return the address of a place of that name, as the setting has it; this test's own."""
    if request.param == "file":
        return lambda place: str(tmp_path / "high-water" / place)
    request.getfixturevalue("store")
    own = uuid4().hex
    return lambda place: f"s3://{NAME}/{own}/{place}"


@pytest.fixture
def trusted(address_of: Callable[[str], str], request: pytest.FixtureRequest) -> Path | None:
    """Return the file of the authority that the store's certificate is from, where there is a store."""
    if not address_of("").startswith("s3://"):
        return None
    store: Bucket = request.getfixturevalue("store")
    return store.ca_file


@pytest.fixture
def open_marks(address_of: Callable[[str], str], trusted: Path | None) -> Callable[[str], HighWater]:
    """Open the marks at a place of that name, as a process does that starts."""
    return lambda place: open_at(address_of(place), trusted=trusted.read_bytes() if trusted else None)
