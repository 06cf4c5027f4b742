"""The limit of ingestion: stock paho, json and executemany, with the same promises as the ingester (its own program).

Manual acknowledgement after a durable commit, batches by count and silence, duplicates ignored by key; no validation,
no registry, no rules. Run as `python -m device_sim.bench.stock_ingester CONFIG.json`; it says `ready` and works until
SIGTERM.
"""

from __future__ import annotations

import json
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from device_sim.bench.raw_sync import connect
from schemas.telemetry import SUBSCRIPTION, sensor_of

BATCH_LIMIT = 1_000
SILENCE_S = 0.005
WAIT_S = 0.2
INBOX_LIMIT = 50_000
TABLES = (
    """CREATE TABLE reading (at TEXT NOT NULL, sensor TEXT NOT NULL, factor TEXT NOT NULL, value REAL, unit TEXT,
    flag TEXT, seq INTEGER, PRIMARY KEY (at, sensor, factor)) WITHOUT ROWID""",
    "CREATE TABLE ingest_counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    "INSERT INTO ingest_counter VALUES ('valid', 0)",
)
INSERT = "INSERT OR IGNORE INTO reading VALUES (?, ?, ?, ?, ?, ?, ?)"
RAISE = "UPDATE ingest_counter SET value = value + ? WHERE name = 'valid'"

Inbox = queue.Queue[MQTTMessage]


def take(inbox: Inbox) -> list[MQTTMessage]:
    """Return the next batch: it ends at a count or after a short silence; empty when nothing comes."""
    batch: list[MQTTMessage] = []
    try:
        while len(batch) < BATCH_LIMIT:
            batch.append(inbox.get(timeout=SILENCE_S if batch else WAIT_S))
    except queue.Empty:
        pass
    return batch


def rows_of(message: MQTTMessage) -> list[tuple[Any, ...]]:
    """Return a message's readings as rows."""
    content = json.loads(message.payload)
    sensor = sensor_of(message.topic)
    return [
        (one["time"], sensor, one["factor"], one["value"], one["unit"], one["flag"], content["seq"])
        for one in content["readings"]
    ]


def run(config: dict[str, Any], stop: threading.Event) -> None:
    """Ingest until told to stop."""
    database = connect(Path(config["database"]))
    for statement in TABLES:
        database.execute(statement)
    inbox: Inbox = queue.Queue(INBOX_LIMIT)
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id="stock-ingester",
        clean_session=False,
        protocol=MQTTProtocolVersion.MQTTv311,
        manual_ack=True,
    )
    client.username_pw_set(config["user"], config["password"])
    client.on_connect = lambda link, *_: link.subscribe(SUBSCRIPTION, qos=1)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = lambda _client, _data, message: inbox.put(message)
    client.connect(config["host"], config["port"])
    client.loop_start()
    while not stop.is_set():
        batch = take(inbox)
        if batch:
            rows = [row for message in batch for row in rows_of(message)]
            database.execute("BEGIN IMMEDIATE")
            before = database.total_changes
            database.executemany(INSERT, rows)
            database.execute(RAISE, (database.total_changes - before,))
            database.execute("COMMIT")
            for message in batch:
                client.ack(message.mid, message.qos)
    client.disconnect()
    client.loop_stop()
    database.close()


def main() -> None:
    """Read the configuration named on the command line, and run."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run(json.loads(Path(sys.argv[1]).read_text()), stop)


if __name__ == "__main__":
    main()
