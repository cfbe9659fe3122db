"""Making the streams and durables of the topology, as the broker's administrator."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import nats as nats_client
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
)

from tallystick_cli.stack.accounts import ADMIN
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
    try:
        asyncio.run(put_topology(server.url, seed=seed, ca_file=layout.ca_file))
    except (NatsError, OSError) as error:
        msg = f"nats did not take its streams: {type(error).__name__}"
        raise ServerFailedError(msg) from error


async def put_topology(url: str, *, seed: str, ca_file: Path, replicas: int = 1) -> None:
    """Make or change streams and durables to what the topology says, each stream on `replicas` servers.

    Raises:
        NatsError: the server refuses, or went away meanwhile; `OSError` likewise.
    """
    connection = await nats_client.connect(
        url,
        nkeys_seed_str=seed,
        tls=ssl.create_default_context(cafile=str(ca_file)),
        allow_reconnect=False,
    )
    try:
        jetstream = connection.jetstream()
        for name, subjects in STREAM_SUBJECTS.items():
            await _put_stream(jetstream, name, subjects, replicas)
        for durable in DURABLES:
            await _put_durable(jetstream, durable)
    finally:
        await connection.close()


async def _put_stream(jetstream: JetStreamContext, name: str, subjects: Sequence[str], replicas: int) -> None:
    wanted = StreamConfig(
        name=name,
        subjects=list(subjects),
        storage=StorageType.FILE,
        max_age=RECEIPT_MAX_AGE_S if name == RECEIPT_STREAM else _EVENT_MAX_AGE_S,
        allow_atomic=True,
        num_replicas=replicas,
    )
    try:
        await jetstream.stream_info(name)
    except NotFoundError:
        await jetstream.add_stream(wanted)
    else:
        await jetstream.update_stream(wanted)


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
