"""The one writer: decodes a batch, commits it in one transaction, and does not give up on a database that is away.

Readings, rule states, leads, dead letters and counters of a batch commit together. A batch that fails for a reason
of its own is halved until the message at fault stands alone; that one is dead-lettered, so nothing blocks the rest.
"""

import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from iot_ingest.batcher import Delivery
from iot_ingest.codecs import hj212
from iot_ingest.codecs.contract import understand_body
from iot_ingest.codecs.shapes import refuse_whole
from iot_ingest.decode import decode
from iot_ingest.throttle import Throttle
from schemas.telemetry import HJ212, Message, signal_of
from server.leads import service as leads
from server.runtime import Runtime
from server.telemetry import service as telemetry
from server.telemetry.commands import commands_due, commands_to_send
from server.telemetry.counting import raise_counters
from server.telemetry.intake import take_in
from server.telemetry.letters import OPEN, Excess, keep_excess, keep_letters, whole_letter
from server.telemetry.models import DeadLetter
from server.telemetry.receipts import Receipt
from server.telemetry.registry import Registry
from server.telemetry.signals import Signal, take_signal
from server.telemetry.tokens import authorise

log = logging.getLogger(__name__)

RETRY_MIN_S = 0.1
RETRY_MAX_S = 30.0
RACES_LIMIT = 5
"""How often a batch may lose a race against another ingester before its messages are tried one by one."""
REPLAY_LIMIT = 100
"""Most dead letters taken in again in one round."""


class Abandoned(Exception):
    """The database did not come back before the ingester had to stop; the batch stays unacknowledged."""


class Writer:
    """Writes batches; `pause(seconds)` waits between attempts and returns True when it is time to stop trying."""

    def __init__(self, rt: Runtime, pause: Callable[[float], bool], throttle: Throttle | None = None) -> None:
        """Remember the runtime, how to wait, and how much each sensor may send (None: the usual)."""
        self._rt, self._pause = rt, pause
        self._throttle = throttle or Throttle()
        self._registry = Registry()
        self._receipts: dict[str, Receipt] = {}
        self.answers: dict[str, bytes] = {}
        """What HJ 212 stations that speak MQTT are to be answered now that a batch is committed: sensor → frames."""
        self.totals: Counter[str] = Counter()
        """What this process has committed, under the names of `intake.COUNTERS`, and `leads`."""

    def write(self, deliveries: Sequence[Delivery]) -> dict[str, Receipt]:
        """Commit a batch; when this returns, every delivery in it may be acknowledged.

        Returns:
            The receipts that its sensors asked for.

        Raises:
            Abandoned: told to stop while the database was away.
        """
        self._receipts = {}
        taken, excess = self._throttle.sift(deliveries)
        messages = [decode(item.topic, item.payload, item.received_at) for item in taken]
        self._store(messages, excess)
        self.answers = _answers(taken, messages)
        return self._receipts

    def tend(self) -> None:
        """Do an idle ingester's chores: requested replays, and gaps that will not close.

        Raises:
            Abandoned: told to stop while the database was away.
        """
        with self._rt.db.read() as session:
            if not telemetry.chores_due(session, self._rt.now()):
                return
            asked = [letter.id for letter in telemetry.requested_letters(session, REPLAY_LIMIT)]
        for letter_id in asked:
            self._replay(letter_id)
        self._store([])

    def _store(self, messages: Sequence[Message], excess: Sequence[Excess] = ()) -> None:
        races = 0
        delay_s = RETRY_MIN_S
        while True:
            try:
                self._commit(messages, excess, cautious=races > 0)
                return
            except (IntegrityError, DataError) as error:
                races += 1
                if races >= RACES_LIMIT or isinstance(error, DataError):
                    self._split(messages, excess, error)
                    return
            except (DBAPIError, OSError) as error:
                log.warning("the database is away, trying again: %s", error)
                if self._pause(delay_s * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
                    raise Abandoned from error
                delay_s = min(delay_s * 2, RETRY_MAX_S)
            except Exception as error:  # noqa: BLE001 - whatever one message may trigger must not stop the others
                self._split(messages, excess, error)
                return

    def _commit(self, messages: Sequence[Message], excess: Sequence[Excess], *, cautious: bool) -> None:
        with self._rt.db.write() as session:
            counts = self._take_in(session, messages, cautious=cautious)
            if excess:
                refused = keep_excess(session, self._rt, excess)
                raised = Counter(messages=refused, dead_lettered=refused)
                raise_counters(session, raised)
                counts += raised
        self.totals.update(counts)

    def _take_in(self, session: Session, messages: Sequence[Message], *, cautious: bool) -> Counter[str]:
        nameless = [message for message in messages if not message.sensor]
        if nameless:
            messages = [message for message in messages if message.sensor]
            messages += [refused for message in nameless if (refused := self._signal(session, message)) is not None]
        intake = take_in(session, self._rt, messages, self._registry, cautious=cautious)
        self._receipts |= intake.receipts
        opened = leads.take_changes(session, self._rt, intake.changes)
        return intake.counts + Counter(leads=opened)

    def _signal(self, session: Session, message: Message) -> Message | None:
        """Take in what is no reading but a signal; return what is refused, or the message if it is neither."""
        found = signal_of(message.topic)
        if found is None:
            return message
        sensor, name = found
        reason = take_signal(session, self._rt, Signal(sensor, name, message.payload, message.received_at))
        if not reason:
            return None
        return refuse_whole(message.topic, message.payload, message.received_at, reason, sensor=sensor)

    def commands(self) -> dict[str, bytes]:
        """Return the commands that are to be sent now, topic → message; they count as sent."""
        with self._rt.db.read() as session:
            if not commands_due(session, self._rt.now()):
                return {}
        with self._rt.db.write() as session:
            return commands_to_send(session, self._rt.now())

    def authorise(self, sensor_id: str, password: str) -> bool:
        """Tell whether a password is one of a sensor's tokens; while the database is away nobody is believed."""
        try:
            with self._rt.db.read() as session:
                return authorise(session, sensor_id, password)
        except (DBAPIError, OSError):
            return False

    def _split(self, messages: Sequence[Message], excess: Sequence[Excess], error: Exception) -> None:
        """Store the halves of a failing batch apart; a message that fails alone is dead-lettered.

        Raises:
            Exception: `error` again, when it is no message's fault.
        """
        if excess and messages:
            self._store([], excess)
        elif not messages:
            raise error
        if len(messages) > 1:
            half = len(messages) // 2
            self._store(messages[:half])
            self._store(messages[half:])
            return
        log.error("a message could not be processed and is dead-lettered", exc_info=error)
        refused = whole_letter(messages[0], "unprocessable", type(error).__name__)
        with self._rt.db.write() as session:
            kept, repeated = keep_letters(session, self._rt, [refused])
            counts = Counter(messages=1, dead_lettered=kept, duplicate=repeated)
            raise_counters(session, counts)
        self.totals.update(counts)

    def _replay(self, letter_id: str) -> None:
        """Take one dead letter in again, in a transaction of its own; if that fails it is open again."""
        try:
            with self._rt.db.write() as session:
                letter = session.get_one(DeadLetter, letter_id, with_for_update=True)
                message = as_message(letter)
                telemetry.retire_letter(session, self._rt, letter)
                counts = self._take_in(session, [message], cautious=True)
            self.totals.update(counts)
        except (DBAPIError, OSError) as error:
            log.warning("the database is away, the replay waits: %s", error)
        except Exception as error:
            log.error("a dead letter could not be replayed", exc_info=error)
            with self._rt.db.write() as session:
                session.get_one(DeadLetter, letter_id).status = OPEN


def _answers(deliveries: Sequence[Delivery], messages: Sequence[Message]) -> dict[str, bytes]:
    """Return the frames that answer messages without numbers; those that came over TCP are answered there."""
    answers: dict[str, bytes] = {}
    for item, message in zip(deliveries, messages, strict=True):
        if message.receipt and not message.seq and item.session >= 0 and item.topic.endswith(HJ212):
            answers[message.sensor] = answers.get(message.sensor, b"") + hj212.answer(message.payload)
    return answers


def as_message(letter: DeadLetter) -> Message:
    """Return a dead letter's content decoded again, by today's tables; a single reading becomes a message of one."""
    if letter.whole:
        return decode(letter.topic, letter.payload, letter.received_at)
    body = {"seq": letter.seq or 1, "readings": [json.loads(letter.payload)]}
    payload, numbered = json.dumps(body).encode(), letter.seq != 0
    return understand_body(letter.topic, payload, letter.received_at, letter.sensor_id, body, numbered=numbered)
