"""The command `fieldproof ingest`: from the broker to the database until told to stop, then a clean drain."""

import gc
import logging
import signal
import sys
import threading
import time
from types import FrameType

import click
from sqlalchemy.exc import DBAPIError

from iot_ingest.batcher import AGE_S, BATCH_LIMIT, SILENCE_S, BatchRule, Inbox
from iot_ingest.client import BrokerAddress, Subscriber
from iot_ingest.hj212_listener import Listener
from iot_ingest.throttle import BURST, RATE_PER_S, Throttle
from iot_ingest.writer import Abandoned, Writer
from schemas.telemetry import SUBSCRIPTIONS, TOPIC_PREFIX, partition_prefix, receipt_topic
from server.config import load_settings
from server.runtime import Runtime, build_runtime

log = logging.getLogger(__name__)

WAIT_S = 0.5
"""How often an idle ingester looks up."""
TEND_S, IDLE_TEND_S = 2.0, 0.5
"""How often an ingester looks for chores, and how often when it is idle."""
PROGRESS_S = 5.0
COLLECT_AFTER = (100_000, 20, 50)
"""Thresholds of the garbage collector's three generations."""


class Ingester:
    """The main loop, apart from the command line so that tests can run it."""

    def __init__(
        self,
        rt: Runtime,
        address: BrokerAddress,
        rule: BatchRule,
        stations: tuple[str, int] | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        """Wire inbox, subscriber and writer together; `stations` is where HJ 212 stations connect, if they do."""
        self._stop = threading.Event()
        self._inbox = Inbox(rule)
        self._subscriber = Subscriber(address, self._inbox, rt.clock)
        self._writer = Writer(rt, self._stop.wait, throttle)
        self._listener = Listener(stations, self._inbox, rt.clock, self._writer.authorise) if stations else None
        self._place = f"{address.host}:{address.port}"
        self._subscriptions = address.subscriptions
        self._said = ""

    def stop(self) -> None:
        """Ask the loop to end: what is in hand is still committed and acknowledged."""
        self._stop.set()

    def run(self) -> int:
        """Run until stopped; return the exit status (1: stopped while the database was away)."""
        # what is there now stays; a batch's objects die with it, so looking for circles among them often is a waste
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        self._subscriber.start()
        if self._listener is not None:
            self._listener.start()
            click.echo(f"ingest: HJ 212 stations on port {self._listener.port}")
        click.echo(f"ingest: connecting to {self._place}")
        tended_at = reported_at = time.monotonic()
        ready = False
        try:
            while not self._stop.is_set():
                if not ready and self._subscriber.subscribed.is_set():
                    click.echo(f"ingest: ready, subscribed to {', '.join(self._subscriptions)}")
                    ready = True
                handled = self._step()
                now = time.monotonic()
                if now - tended_at >= (TEND_S if handled else IDLE_TEND_S):
                    self._tend()
                    tended_at = now
                if now - reported_at >= PROGRESS_S:
                    self._report("progress")
                    reported_at = now
            self._subscriber.stop_receiving()
            if self._listener is not None:
                self._listener.stop_receiving()
            while self._step(wait_s=0.01):
                pass
        except Abandoned:
            click.echo("ingest: stopped while the database was away; the broker keeps what was not committed", err=True)
            return 1
        finally:
            self._subscriber.close()
            if self._listener is not None:
                self._listener.close()
        self._report("drained", always=True)
        return 0

    def _step(self, wait_s: float = WAIT_S) -> bool:
        batch = self._inbox.take(wait_s)
        if batch:
            receipts = self._writer.write(batch)
            self._subscriber.acknowledge(batch)
            if self._listener is not None:
                self._listener.acknowledge(batch)
            told = self._writer.answers | {sensor: receipt.encode() for sensor, receipt in receipts.items()}
            self._subscriber.tell({receipt_topic(sensor): text for sensor, text in told.items()})
        return bool(batch)

    def _tend(self) -> None:
        self._writer.tend()
        try:
            self._subscriber.tell(self._writer.commands(), qos=1)
        except (DBAPIError, OSError) as error:
            log.warning("the database is away, commands wait: %s", error)

    def _report(self, word: str, *, always: bool = False) -> None:
        totals = self._writer.totals
        names = ("messages", "valid", "invalid", "dead_lettered", "duplicate", "leads")
        text = ", ".join(f"{name} {totals[name]}" for name in names)
        if self._subscriber.fault:
            text = self._subscriber.fault
        if always or text != self._said:
            click.echo(f"ingest: {word}: {text}")
            self._said = text


def subscriptions(share: str | None, partition: int | None) -> tuple[str, ...]:
    """Return what to subscribe to: everything, a share of it, or one partition (see `partition_prefix`)."""
    topics = SUBSCRIPTIONS
    if partition is not None:
        topics = tuple(topic.replace(TOPIC_PREFIX, partition_prefix(partition), 1) for topic in topics)
    return tuple(f"$share/{share}/{topic}" for topic in topics) if share else topics


def station_address(text: str | None) -> tuple[str, int] | None:
    """Return the host and port of `HOST:PORT`.

    Raises:
        click.BadParameter: it is not that.
    """
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise click.BadParameter("must be HOST:PORT", param_hint="--hj212")
    return host, int(port)


@click.command()
@click.option("--host", help="Broker host; default FIELDPROOF_MQTT_HOST.")
@click.option("--port", type=click.IntRange(1, 65535), help="Broker port; default FIELDPROOF_MQTT_PORT.")
@click.option("--client-id", default="fieldproof-ingest", show_default=True, help="Names the persistent session.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=BATCH_LIMIT, show_default=True, help="Largest batch.")
@click.option(
    "--silence-ms",
    type=click.IntRange(1, 1000),
    default=int(SILENCE_S * 1000),
    show_default=True,
    help="Pause that ends a batch.",
)
@click.option(
    "--mqtt", "version", type=click.Choice(["3.1.1", "5"]), default="3.1.1", show_default=True, help="Protocol."
)
@click.option("--share", help="Group of a shared subscription, where the broker has them ($share/GROUP/…).")
@click.option("--partition", type=click.IntRange(0, 1023), help="Only this partition, where the broker makes them.")
@click.option(
    "--ca-file", type=click.Path(exists=True, dir_okay=False), help="TLS: what the broker's certificate descends from."
)
@click.option("--hj212", help="HOST:PORT on which HJ 212 stations connect; default: none do.")
@click.option(
    "--sensor-rate",
    type=click.FloatRange(0.01),
    default=RATE_PER_S,
    show_default=True,
    help="Messages a second that one sensor may send; more is refused and counted.",
)
@click.option(
    "--sensor-burst",
    type=click.IntRange(1),
    default=BURST,
    show_default=True,
    help="Messages that one sensor may send at once after a silence.",
)
def ingest(
    *,
    host: str | None,
    port: int | None,
    client_id: str,
    batch: int,
    silence_ms: int,
    version: str,
    share: str | None,
    partition: int | None,
    ca_file: str | None,
    hj212: str | None,
    sensor_rate: float,
    sensor_burst: int,
) -> None:
    """接入传感器遥测（MQTT）。Take in sensor readings over MQTT.

    Messages are acknowledged only after they are committed; on SIGTERM what is in hand is committed first. The broker's
    user and password come from FIELDPROOF_MQTT_USER and FIELDPROOF_MQTT_PASSWORD.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = load_settings()
    address = BrokerAddress(
        host=host or settings.mqtt_host,
        port=port or settings.mqtt_port,
        user=settings.mqtt_user,
        password=settings.mqtt_password,
        client_id=client_id,
        subscriptions=subscriptions(share, partition),
        version=5 if version == "5" else 4,
        ca_file=ca_file or "",
    )
    rule = BatchRule(limit=batch, silence_s=silence_ms / 1000, age_s=AGE_S)
    throttle = Throttle(sensor_rate, sensor_burst)
    ingester = Ingester(build_runtime(settings), address, rule, station_address(hj212), throttle)

    def stop(_number: int, _frame: FrameType | None) -> None:
        ingester.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sys.exit(ingester.run())
