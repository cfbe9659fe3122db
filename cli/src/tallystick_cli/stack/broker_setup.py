"""Making the streams and durables of the topology: all of them as administrator, what was lost as keeper."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import nats as nats_client
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError
from tallystick_contracts.topology import (
    DURABLES,
    RECEIPT_MAX_AGE_S,
    RECEIPT_STREAM,
    STREAM_SUBJECTS,
    Durable,
    inbox_prefix,
)

from tallystick_cli.stack.accounts import ADMIN, KEEPER, KEEPER_API
from tallystick_cli.stack.errors import ServerFailedError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.nats import Nats, seed_file

# A bound for the disk only: outboxes and the ledger are what keep events.
_EVENT_MAX_AGE_S = 7 * 86_400


def is_set_up(server: Nats) -> bool:
    """Whether nothing is missing; also while the server does not answer, when nobody can tell or help."""
    holdings = server.holdings()
    return holdings is None or (holdings[0] >= len(STREAM_SUBJECTS) and holdings[1] >= len(DURABLES))


def set_up(layout: Layout, server: Nats) -> None:
    """Bring streams and durables to what the topology says; safe to run again, and after a lost store.

    Raises:
        ServerFailedError: the server went away meanwhile.
    """
    seed = seed_file(layout, ADMIN).read_text()
    _run(put_topology(server.url, seed=seed, ca_file=layout.ca_file))


def refill(layout: Layout, server: Nats) -> None:
    """Put back what the server has lost; the services then fill it from their stores.

    Raises:
        ServerFailedError: the server went away meanwhile.
    """
    seed = seed_file(layout, KEEPER).read_text()
    _run(put_missing(server.url, seed=seed, ca_file=layout.ca_file))


def _run(work: Coroutine[object, object, object]) -> None:
    try:
        asyncio.run(work)
    except (NatsError, OSError) as error:
        msg = f"nats did not take its streams: {type(error).__name__}"
        raise ServerFailedError(msg) from error


async def put_topology(url: str, *, seed: str, ca_file: Path, replicas: int = 1) -> None:
    """Make or change streams and durables to what the topology says, each stream on `replicas` servers.

    `seed` is the administrator's.

    Raises:
        NatsError: the server refuses, or went away meanwhile; `OSError` likewise.
    """
    async with _connected(url, seed, ca_file) as connection:
        jetstream = connection.jetstream()
        for name, subjects in STREAM_SUBJECTS.items():
            wanted = _stream(name, subjects, replicas)
            if await _is_there(jetstream.stream_info(name)):
                await jetstream.update_stream(wanted)
            else:
                await jetstream.add_stream(wanted)
        for durable in DURABLES:
            await _put_durable(jetstream, durable)


async def put_missing(url: str, *, seed: str, ca_file: Path, replicas: int = 1) -> tuple[str, ...]:
    """Make the streams and durables that are not there, and return their names; nothing that is there is changed.

    `seed` is the keeper's.

    Raises:
        NatsError: the server refuses, or went away meanwhile; `OSError` likewise.
    """
    made: list[str] = []
    async with _connected(url, seed, ca_file, inbox=inbox_prefix(KEEPER)) as connection:
        jetstream = connection.jetstream(prefix=KEEPER_API)
        for name, subjects in STREAM_SUBJECTS.items():
            if not await _is_there(jetstream.stream_info(name)):
                await jetstream.add_stream(_stream(name, subjects, replicas))
                made.append(name)
        for durable in DURABLES:
            if not await _is_there(jetstream.consumer_info(durable.stream, durable.name)):
                await _put_durable(jetstream, durable)
                made.append(durable.name)
    return tuple(made)


@asynccontextmanager
async def _connected(url: str, seed: str, ca_file: Path, *, inbox: str = "_INBOX") -> AsyncIterator[Client]:
    connection = await nats_client.connect(
        url,
        nkeys_seed_str=seed,
        tls=ssl.create_default_context(cafile=str(ca_file)),
        allow_reconnect=False,
        inbox_prefix=inbox,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def _is_there(asked: Awaitable[object]) -> bool:
    try:
        await asked
    except NotFoundError:
        return False
    return True


def _stream(name: str, subjects: Sequence[str], replicas: int) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=list(subjects),
        storage=StorageType.FILE,
        max_age=RECEIPT_MAX_AGE_S if name == RECEIPT_STREAM else _EVENT_MAX_AGE_S,
        allow_atomic=True,
        num_replicas=replicas,
    )


async def _put_durable(jetstream: JetStreamContext, durable: Durable) -> None:
    await jetstream.add_consumer(
        durable.stream,
        ConsumerConfig(
            durable_name=durable.name,
            filter_subjects=list(durable.filter_subjects),
            ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=durable.ack_wait_s,
            max_ack_pending=durable.max_ack_pending,
        ),
    )
