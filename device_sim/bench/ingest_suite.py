"""`bench ingest`: what a sensor publishes at QoS 1 is decoded, judged, stored durably and then acknowledged.

The limit of all cases is `stock`: stock paho, json and executemany through the same broker. Broker, publishers and
ingester share the machine. Only mosquitto is fast enough to measure ingesters with; nats-server, which syncs its own
disk before each PUBACK, is a case without a limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from device_sim.bench.brokers import mosquitto_program
from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.ingest_runs import IngestBench, RunPlan
from device_sim.bench.measurement import PRODUCT, RAW

MOSQUITTO, PEER = "mosquitto", "mq-bridge"
PLANS = {
    "sqlite": RunPlan(rules=False),
    "sqlite-rules": RunPlan(),
    "postgresql": RunPlan(database="postgresql"),
    "drain": RunPlan(backlog=True),
    "latency-5k": RunPlan(rate_per_s=5_000),
    "nats": RunPlan(broker="nats"),
}


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    if mosquitto_program() is None:
        raise BenchFailed("mosquitto is missing: apt-get install mosquitto")
    bench = IngestBench(options, folder)
    cases = [Case(RAW, "stock", "messages", partial(bench.stock, MOSQUITTO))]
    cases += [Case(PRODUCT, name, "messages", partial(bench.product, plan)) for name, plan in PLANS.items()]
    if options.peers:
        if find_spec("mq_bridge") is None:
            raise BenchFailed("mq-bridge is missing: pip install mq-bridge")
        databases = ("sqlite", "postgresql")
        cases += [Case(PEER, name, "messages", partial(bench.bridge, name, MOSQUITTO)) for name in databases]
    yield cases


INGEST = Suite(
    name="ingest",
    about="8 sensors publish readings at QoS 1, stored before they are acknowledged; limit: paho, json, executemany",
    cases={
        "stock": "the limit: stock paho, json and executemany into SQLite, through mosquitto",
        "sqlite": "into SQLite through mosquitto, without rules",
        "sqlite-rules": "the same with the built-in rules",
        "postgresql": "the same into PostgreSQL",
        "drain": "a backlog that the broker has kept, into SQLite with rules",
        "latency-5k": "5,000 messages a second: the time from PUBLISH to commit",
        "nats": "through nats-server, which syncs its disk before each PUBACK; no limit",
    },
    open=_open,
)
