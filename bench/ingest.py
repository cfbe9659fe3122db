"""`ingest`: published in JetStream → committed and receipted, against the NATS client's own pull and acknowledge.

The ledger's writer, as its worker runs it (`WriterJob` on the service's own NATS user and database role), empties its
durable; the clock stops when JetStream has confirmed the receipt of the last event, and every receipt is counted
afterwards. The reference reads the same stored messages through a durable like the ledger's: the client's own `fetch`
of 500 and an acknowledgement for each, as the broker's administrator, whose account is the stream's own, and with the
client as it is (the ledger's reads headers quicker: `chassis.quick_client`). Each side
gets a turn of 10,000 messages, published beforehand, until the writer has had TALLY_BENCH_INGEST_S seconds (60) in all;
what is compared is all messages by all seconds. The worker's other jobs (search index, closing of logs) do not run.

TALLY_BENCH_INGEST_TURN is the number of messages in a turn.
"""

import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Final
from uuid import uuid4

import uvloop
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from tallystick_chassis.bus import MAX_BATCH, Bus, BusMessage
from tallystick_chassis.ids import TenantId
from tallystick_cli.stack.accounts import ADMIN
from tallystick_cli.stack.temporary import Databases, RunningServers, running_servers
from tallystick_contracts.envelope import decode_envelope
from tallystick_contracts.topology import (
    ACK_WAIT_S,
    DURABLES,
    EVENT_STREAM,
    RECEIPT_STREAM,
    ServiceName,
    cloud_event_type,
    event_subject,
    inbox_prefix,
)
from tallystick_ledger.writing.arrival import Arrival
from tallystick_ledger.writing.job import WriterJob
from tallystick_tlog.receipt import Receipt

from bench.append import arrival, ledger_writer, make_tables
from bench.measure import Measure, Result, result
from bench.revocation import bus_of

GOAL: Final = 0.60
_SOURCE: Final = ServiceName.ASSESSMENT
_WAIT_S: Final = 5.0
_LEDGERS: Final = next(one for one in DURABLES if one.name == ServiceName.LEDGER)
_REFERENCE: Final = replace(_LEDGERS, name="bench-reference")


class _Receipts:
    """Sends receipts as the worker does, and remembers when the last one was confirmed."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.confirmed_at = 0.0

    async def publish_batch(self, messages: Sequence[BusMessage], *, timeout_s: float) -> None:
        await self._bus.publish_batch(messages, timeout_s=timeout_s)
        self.confirmed_at = perf_counter()


class _Broker:
    """The streams as their administrator sees them, and the two services that a turn needs."""

    def __init__(self, *, ledger: Bus, source: Bus, admin: Client) -> None:
        self.ledger = ledger
        self.source = source
        self.admin = admin
        self.streams = admin.jetstream()

    @classmethod
    async def at(cls, servers: RunningServers, closing: AsyncExitStack) -> "_Broker":
        """Connect, and make the reference's durable."""
        ledger, source = (bus_of(servers, user) for user in (ServiceName.LEDGER, _SOURCE))
        admin = Client()
        await admin.connect(
            servers.nats_url,
            nkeys_seed_str=servers.nats_seed(ADMIN).read_text(),
            tls=ssl.create_default_context(cafile=str(servers.ca_file)),
            inbox_prefix=inbox_prefix(ADMIN),
        )
        for connection in (ledger, source, admin):
            closing.push_async_callback(connection.close)
        broker = cls(ledger=ledger, source=source, admin=admin)
        wanted = ConsumerConfig(
            durable_name=_REFERENCE.name,
            filter_subjects=list(_REFERENCE.filter_subjects),
            ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=_REFERENCE.max_ack_pending,
        )
        await broker.streams.add_consumer(EVENT_STREAM, wanted)
        return broker

    async def publish(self, arrivals: Sequence[Arrival]) -> None:
        """Publish events as their source's relay does."""
        for start in range(0, len(arrivals), MAX_BATCH):
            batch = [_message(one) for one in arrivals[start : start + MAX_BATCH]]
            await self.source.publish_batch(batch, timeout_s=_WAIT_S)

    async def forget(self) -> None:
        """Empty both streams, so that the disk holds one turn and not all of them."""
        for stream in (EVENT_STREAM, RECEIPT_STREAM):
            await self.streams.purge_stream(stream)


def take() -> Result:
    """Ingest turn after turn, and read each turn's messages bare."""
    seconds = float(os.environ.get("TALLY_BENCH_INGEST_S", "60"))
    turn = int(os.environ.get("TALLY_BENCH_INGEST_TURN", "10000"))
    with running_servers(durable=True) as servers:
        messages, writer_s, bare_s = uvloop.run(_measure(servers, servers.fresh_databases(), turn, seconds))
    return result(
        name="ingest",
        value=messages / writer_s,
        unit="events/s",
        reference="pulling and acknowledging the same messages with the NATS client",
        reference_value=messages / bare_s,
        goal=GOAL,
    )


async def _measure(
    servers: RunningServers, databases: Databases, turn: int, seconds: float
) -> tuple[int, float, float]:
    messages, writer_s, bare_s = 0, 0.0, 0.0
    async with turns_of(servers, databases, turn) as turns:
        number = -1  # the first turn warms up
        while number < 1 or writer_s < seconds:
            await turns.publish()
            ingested_s = await turns.ingest()
            pulled_s = await turns.pull_and_ack()
            await turns.forget()
            if number >= 0:
                messages, writer_s, bare_s = messages + turn, writer_s + ingested_s, bare_s + pulled_s
            number += 1
    return messages, writer_s, bare_s


class Turns:
    """Both sides of the measure, and what each needs; ``count`` messages a turn."""

    def __init__(
        self, broker: _Broker, job: WriterJob, confirmed: _Receipts, bare: JetStreamContext.PullSubscription, count: int
    ) -> None:
        self.count = count
        self._broker = broker
        self._job = job
        self._confirmed = confirmed
        self._bare = bare
        self._receipts = broker.source.pull(stream=RECEIPT_STREAM, durable=f"rcpt-{_SOURCE}")
        self._tenant = TenantId(uuid4())
        self._published = 0

    async def publish(self) -> None:
        """Publish the messages of a turn."""
        first, self._published = self._published + 1, self._published + self.count
        await self._broker.publish([arrival(self._tenant, first + n) for n in range(self.count)])

    async def ingest(self) -> float:
        """Return the seconds until the last receipt is confirmed; fail unless there is one for every event."""
        begin = perf_counter()
        while await self._job.step():
            pass
        taken_s = self._confirmed.confirmed_at - begin
        proved: set[str] = set()
        while len(proved) < self.count:
            deliveries = await self._receipts.fetch(MAX_BATCH, _WAIT_S)
            if not deliveries:
                message = f"{self.count - len(proved)} of {self.count} events have no receipt"
                raise RuntimeError(message)
            for delivery in deliveries:
                proved.update(event.id for event in Receipt.from_json(delivery.payload).events)
                await delivery.ack()
        return taken_s

    async def pull_and_ack(self) -> float:
        """Return the seconds that the client takes for the same messages."""
        begin = perf_counter()
        seen = 0
        while seen < self.count:
            messages = await self._bare.fetch(MAX_BATCH, timeout=_WAIT_S)
            for message in messages:
                await message.ack()
            seen += len(messages)
        await self._broker.admin.flush()  # the last acknowledgements have left
        return perf_counter() - begin

    async def forget(self) -> None:
        """Drop the turn's messages."""
        await self._broker.forget()


@asynccontextmanager
async def turns_of(servers: RunningServers, databases: Databases, count: int) -> AsyncIterator[Turns]:
    """Make the tables, and connect both sides."""
    await make_tables(databases, servers.ca_file)
    async with AsyncExitStack() as closing:
        writer = await closing.enter_async_context(ledger_writer(databases, servers.ca_file))
        broker = await _Broker.at(servers, closing)
        confirmed = _Receipts(broker.ledger)
        pull = broker.ledger.pull(stream=EVENT_STREAM, durable=_LEDGERS.name)
        job = WriterJob(writer=writer, source=pull, receipts=confirmed)
        closing.push_async_callback(pull.close)
        closing.push_async_callback(job.close)
        bare = await broker.streams.pull_subscribe_bind(durable=_REFERENCE.name, stream=EVENT_STREAM)
        yield Turns(broker, job, confirmed, bare, count)


def _message(one: Arrival) -> BusMessage:
    """Return the message that the relay would send."""
    envelope = decode_envelope(one.body)
    _, aggregate, verb = envelope.type.split(".")
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(envelope.id),
        "ce-source": f"/{envelope.source}",
        "ce-type": cloud_event_type(envelope.type, envelope.v),
        "ce-time": envelope.time,
        "ce-datacontenttype": "application/json",
        "ce-partitionkey": str(one.tenant),
        "ce-sequence": str(one.source_seq),
        "source-seq": str(one.source_seq),
        "ce-correlationid": envelope.correlation or "",
    }
    return BusMessage(event_subject(one.tenant, envelope.source, aggregate, verb), one.body, headers)


MEASURE: Final = Measure("ingest", take)
