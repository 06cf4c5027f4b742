"""Taking in one batch of decoded messages: every reading ends as exactly one of valid, invalid or dead-lettered.

Everything happens in the caller's transaction: readings, rule states, episodes, dead letters and counters commit
together or not at all, so a delivery may be acknowledged after the commit and repeated before it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from schemas.telemetry import Message
from server.db.engine import IN_LIST_LIMIT, insert_ignore
from server.runtime import Runtime
from server.telemetry.evaluation import EpisodeChange, Evaluation
from server.telemetry.letters import Letter, keep_letters, letter, refuse_reading, void_letters, whole_letter
from server.telemetry.models import IngestCounter, Sensor
from server.telemetry.ordering import Line, Step, load_progress, release, release_expired
from server.telemetry.settling import Key, Row, Settled, load_rows, make_row, settle

COUNTERS = ("messages", "valid", "invalid", "dead_lettered", "duplicate", "skipped_messages", "episodes")
"""`messages` counts deliveries; the next four count readings; `skipped_messages` counts numbers given up as gaps."""


@dataclass
class Intake:
    """What a batch did: counters raised, and episodes that changed."""

    counts: Counter[str] = field(default_factory=Counter)
    changes: tuple[EpisodeChange, ...] = ()


def take_in(session: Session, rt: Runtime, messages: Sequence[Message]) -> Intake:
    """Store a batch of messages and run the rules over what is due; an empty batch gives up expired gaps.

    Args:
        session: the write session.
        rt: the runtime.
        messages: decoded messages in order of arrival.

    Raises:
        sqlalchemy.exc.IntegrityError: another ingester stored the same meanwhile; run the transaction again.
    """
    sensors = load_sensors(session, (message.sensor for message in messages))
    progress = load_progress(session, sensors, rt.now())
    letters, candidates, lines = _sort(messages, sensors)
    settled = settle(
        session,
        candidates,
        {sensor_id: row.complete_seq for sensor_id, row in progress.items()},
        {message.sensor: message.topic for message in messages},
    )
    kept, repeated = keep_letters(session, rt, [*letters, *settled.contradictions])
    void = void_letters(session, settled.standing)
    skipped = sum(row.skipped for row in progress.values())
    steps: list[Step] = []
    for sensor_id in sorted(lines):
        steps += release(session, Line(progress[sensor_id], lines[sensor_id]), rt.now())
    skipped = sum(row.skipped for row in progress.values()) - skipped
    expired, given_up = release_expired(session, rt.now())
    changes = _evaluate(session, sensors, [*steps, *expired], settled)
    counts = Counter(
        messages=len(messages),
        valid=settled.valid,
        invalid=settled.invalid,
        dead_lettered=kept - void,
        duplicate=settled.duplicates + repeated + void,
        skipped_messages=skipped + given_up,
        episodes=sum(change.opened for change in changes),
    )
    raise_counters(session, counts)
    return Intake(counts, changes)


def load_sensors(session: Session, sensor_ids: Iterable[str]) -> dict[str, Sensor]:
    """Return the registered ones among `sensor_ids`."""
    wanted = sorted(set(sensor_ids) - {""})
    found: dict[str, Sensor] = {}
    for start in range(0, len(wanted), IN_LIST_LIMIT):
        query = select(Sensor).where(Sensor.id.in_(wanted[start : start + IN_LIST_LIMIT]))
        found |= {sensor.id: sensor for sensor in session.scalars(query)}
    return found


def raise_counters(session: Session, counts: Mapping[str, int]) -> None:
    """Raise running totals, in this transaction."""
    insert_ignore(session, IngestCounter.__table__, [{"name": name, "value": 0} for name in sorted(counts)])  # type: ignore[arg-type]
    for name in sorted(counts):
        if counts[name]:
            raised = IngestCounter.value + counts[name]
            session.execute(update(IngestCounter).where(IngestCounter.name == name).values(value=raised))


def _sort(
    messages: Sequence[Message], sensors: Mapping[str, Sensor]
) -> tuple[list[Letter], list[Row], dict[str, dict[int, tuple[Key, ...]]]]:
    """Split messages into letters, candidate rows, and each sensor's arrived numbers with their keys."""
    letters: list[Letter] = []
    candidates: list[Row] = []
    lines: dict[str, dict[int, tuple[Key, ...]]] = {}
    for message in messages:
        sensor = sensors.get(message.sensor)
        if sensor is None and message.sensor and message.seq is not None:
            letters.append(whole_letter(message, "unknown-sensor"))
            continue
        letters += [letter(message, refusal) for refusal in message.refusals]
        if sensor is None or message.seq is None:
            continue
        rows: list[Row] = []
        for reading in message.readings:
            if reading.factor in sensor.channels:
                rows.append(make_row(sensor, message, reading))
            else:
                refusal = refuse_reading(message.sensor, reading, "unknown-channel", reading.factor)
                letters.append(letter(message, refusal))
        candidates += rows
        line = lines.setdefault(sensor.id, {})
        line[message.seq] = (*line.get(message.seq, ()), *(row.key for row in rows))
    return letters, candidates, lines


def _evaluate(
    session: Session, sensors: Mapping[str, Sensor], steps: Sequence[Step], settled: Settled
) -> tuple[EpisodeChange, ...]:
    """Let the rules look at each step's readings that stand under its number and were not looked at before."""
    if not steps:
        return ()
    involved = {step.sensor_id for step in steps}
    known = dict(sensors) | load_sensors(session, involved - sensors.keys())
    run = Evaluation.begin(session, [known[sensor_id] for sensor_id in sorted(involved)])
    rows = settled.rows | load_rows(session, {key for step in steps for key in step.keys} - settled.rows.keys())
    for step in steps:
        standing = {key: rows[key] for key in step.keys if key in rows and rows[key].seq == step.seq}
        run.take(step.judged, [row for key, row in standing.items() if not step.late or key in settled.fresh])
    return run.finish()
