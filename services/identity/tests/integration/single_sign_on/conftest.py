"""A tenant's own OpenID provider, which answers as a test wants it to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from bendable_provider import BendableProvider

from .steps import KIM

if TYPE_CHECKING:
    from conftest import Identity


@pytest.fixture
def identity(federated_identity: Identity) -> Identity:
    return federated_identity


@pytest.fixture
async def provider() -> AsyncIterator[BendableProvider]:
    async with BendableProvider(claims=dict(KIM)) as running:
        yield running
