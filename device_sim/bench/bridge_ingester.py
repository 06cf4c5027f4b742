"""The peer of ingestion: `mq-bridge` (PyPI; its core is Rust) from the same broker into a table like the product's.

It acknowledges after the insert (`delayed_ack` false; its schema says that true acknowledges upon receipt), ignores
duplicates by key, and a trigger or rule of the database takes its messages apart, which was the fastest of what it can
be configured to do: no validation, no registry, no rules. Run as `python -m device_sim.bench.bridge_ingester
CONFIG.json`; it says `ready` and works until SIGTERM.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from schemas.telemetry import SUBSCRIPTION

BATCH_LIMIT = 1_000
"""Of 500, 1,000, 2,000 and 5,000 it is about as fast with each, and takes more memory with more."""
CONNECTING_S = 2.0
"""It does not say when it is subscribed."""
TABLE = """CREATE TABLE reading (at BIGINT NOT NULL, sensor_id VARCHAR(64) NOT NULL, factor VARCHAR(64) NOT NULL,
    kind SMALLINT NOT NULL, value FLOAT, flag VARCHAR(1) NOT NULL, valid BOOLEAN NOT NULL, seq BIGINT NOT NULL,
    received_at BIGINT NOT NULL, PRIMARY KEY (at, sensor_id, factor, kind))"""
SET_UP = {
    "sqlite": (
        TABLE + " WITHOUT ROWID",
        "CREATE VIEW incoming AS SELECT NULL AS payload",
        """CREATE TRIGGER take_apart INSTEAD OF INSERT ON incoming BEGIN INSERT OR IGNORE INTO reading SELECT
        CAST(strftime('%s', p ->> '$.readings[0].time') AS INTEGER) * 1000000, p ->> '$.sensor',
        p ->> '$.readings[0].factor', 1, p ->> '$.readings[0].value', p ->> '$.readings[0].flag', 1, p ->> '$.seq', 0
        FROM (SELECT CAST(NEW.payload AS TEXT) AS p); END""",
    ),
    "postgresql": (
        TABLE,
        "CREATE VIEW incoming AS SELECT NULL::bytea AS payload",
        """CREATE RULE take_apart AS ON INSERT TO incoming DO INSTEAD INSERT INTO reading SELECT
        CAST(extract(epoch FROM CAST(p #>> '{readings,0,time}' AS timestamptz)) * 1000000 AS bigint), p ->> 'sensor',
        p #>> '{readings,0,factor}', 1, CAST(p #>> '{readings,0,value}' AS float), p #>> '{readings,0,flag}', true,
        CAST(p ->> 'seq' AS bigint), 0 FROM (SELECT CAST(convert_from(NEW.payload, 'UTF8') AS jsonb) AS p) AS one
        ON CONFLICT DO NOTHING""",
    ),
}
"""A view in front of the table: only so does it insert a batch in one statement, and what a row is, is known to SQL."""
INSERTS = {
    "sqlite": "INSERT INTO incoming (payload) VALUES (?)",
    "postgresql": "INSERT INTO incoming (payload) VALUES ($1)",
}


def route(config: dict[str, Any]) -> dict[str, Any]:
    """Return the route's configuration."""
    return {
        "input": {
            "mqtt": {
                "url": f"mqtt://{config['host']}:{config['port']}", "topic": SUBSCRIPTION, "client_id": "bridge",
                "clean_session": False, "qos": 1, "delayed_ack": False, "queue_capacity": config["window"],
                "max_inflight": config["window"], "username": config["user"], "password": config["password"],
            }
        },
        "output": {
            "sqlx": {"url": config["url"], "table": "reading", "insert_query": INSERTS[config["database"]]}
        },
        "batch_size": BATCH_LIMIT,
        "concurrency": 1,
    }  # fmt: skip


def main() -> None:
    """Read the configuration named on the command line, and run."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    bridge = import_module("mq_bridge").Route.from_config(route(json.loads(Path(sys.argv[1]).read_text())))
    bridge.start()
    stop.wait(CONNECTING_S)
    print("ready", flush=True)
    stop.wait()
    bridge.stop()


if __name__ == "__main__":
    main()
