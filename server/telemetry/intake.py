"""Taking in one batch of decoded messages: every reading ends as exactly one of valid, invalid or dead-lettered.

Everything happens in the caller's transaction: readings, rule states, episodes, dead letters and counters commit
together or not at all, so a delivery may be acknowledged after the commit and repeated before it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from schemas.telemetry import Message
from server.runtime import Runtime
from server.telemetry.commands import ask_for_missing
from server.telemetry.counting import raise_counters
from server.telemetry.evaluation import EpisodeChange, Evaluation
from server.telemetry.letters import Letter, keep_letters, letter, refuse_reading, void_letters, whole_letter
from server.telemetry.ordering import Line, Step, load_progress, note_newest, release, release_expired
from server.telemetry.ordinary import Sorted, sort, store
from server.telemetry.receipts import Receipt, make_receipts
from server.telemetry.registry import Registry, SensorEntry
from server.telemetry.settling import Key, Row, Settled, load_rows, make_row, settle
from server.telemetry.staleness import note_stale
from server.telemetry.validation import UNBELIEVABLE_TIMES

COUNTERS = ("messages", "valid", "invalid", "dead_lettered", "duplicate", "skipped_messages", "episodes")
"""`messages` counts deliveries; the next four count readings; `skipped_messages` counts numbers given up as gaps."""


@dataclass
class Intake:
    """What a batch did: counters raised, and episodes that changed."""

    counts: Counter[str] = field(default_factory=Counter)
    changes: tuple[EpisodeChange, ...] = ()
    receipts: dict[str, Receipt] = field(default_factory=dict)
    """Sensor → how far it is stored, for those that asked."""


def take_in(
    session: Session,
    rt: Runtime,
    messages: Sequence[Message],
    registry: Registry | None = None,
    *,
    cautious: bool = False,
) -> Intake:
    """Store a batch of messages and run the rules over what is due; an empty batch gives up expired gaps.

    Args:
        session: the write session.
        rt: the runtime.
        messages: decoded messages in order of arrival.
        registry: what the caller remembers of the registry between batches; None: nothing.
        cautious: sort every message out with care, the ordinary ones too.

    Raises:
        sqlalchemy.exc.IntegrityError: another ingester stored the same meanwhile, or something stored is newer than
            it was taken for; run the transaction again, with care.
    """
    registry = registry or Registry()
    registry.refresh(session)
    sensors = registry.sensors(session, {message.sensor for message in messages})
    batch = Sorted(rest=list(messages)) if cautious else sort(session, sensors, messages)
    store(session, batch.lines, rt.now())
    intake, steps, settled = _take_rest(session, rt, batch.rest, sensors)
    note_stale(session, batch.lines, _believable(settled), rt.now())
    expired, given_up = release_expired(session, rt.now()) if not messages else ([], 0)
    if given_up:
        ask_for_missing(session, rt, expired)
    intake.changes = _evaluate(session, registry, sensors, batch, [*steps, *expired], settled)
    intake.counts.update(
        messages=len(messages),
        valid=batch.valid,
        invalid=batch.invalid,
        duplicate=batch.duplicates,
        skipped_messages=given_up,
        episodes=sum(change.opened for change in intake.changes),
    )
    raise_counters(session, intake.counts)
    asking = {message.sensor for message in messages if message.receipt and message.seq}
    intake.receipts = make_receipts(session, asking & sensors.keys())
    return intake


def _take_rest(
    session: Session, rt: Runtime, messages: Sequence[Message], sensors: Mapping[str, SensorEntry]
) -> tuple[Intake, list[Step], Settled]:
    """Store the messages that need care; return what was counted, and the steps that are due."""
    if not messages:
        return Intake(), [], Settled()
    mine = {message.sensor for message in messages} & sensors.keys()
    progress = load_progress(session, mine, rt.now())
    letters, candidates, lines = _sort(messages, sensors)
    settled = settle(
        session,
        candidates,
        {sensor_id: row.complete_seq for sensor_id, row in progress.items()},
        {message.sensor: message.topic for message in messages},
    )
    for sensor_id, rows in _believable_rows(candidates).items():
        note_newest(progress[sensor_id], rows)
    kept, repeated = keep_letters(session, rt, [*letters, *settled.contradictions])
    void = void_letters(session, settled.standing)
    skipped = sum(row.skipped for row in progress.values())
    steps: list[Step] = []
    for sensor_id in sorted(lines):
        steps += release(session, Line(progress[sensor_id], lines[sensor_id]), rt.now())
    skipped = sum(row.skipped for row in progress.values()) - skipped
    counts = Counter(
        valid=settled.valid,
        invalid=settled.invalid,
        dead_lettered=kept - void,
        duplicate=settled.duplicates + repeated + void,
        skipped_messages=skipped,
    )
    return Intake(counts), steps, settled


def _believable_rows(candidates: Sequence[Row]) -> dict[str, list[Row]]:
    """Return each sensor's rows whose data time is one to go by."""
    found: dict[str, list[Row]] = {}
    for row in candidates:
        if row.reason not in UNBELIEVABLE_TIMES:
            found.setdefault(row.sensor_id, []).append(row)
    return found


def _believable(settled: Settled) -> list[Key]:
    """Return the keys that changed, without new data times that are no time to go by."""
    no_time = {key for key in settled.fresh if settled.rows[key].reason in UNBELIEVABLE_TIMES}
    return sorted(settled.changed - no_time)


def _sort(
    messages: Sequence[Message], sensors: Mapping[str, SensorEntry]
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
    session: Session,
    registry: Registry,
    sensors: Mapping[str, SensorEntry],
    batch: Sorted,
    steps: Sequence[Step],
    settled: Settled,
) -> tuple[EpisodeChange, ...]:
    """Let the rules look at ordinary readings, and at those of each step that were not looked at before."""
    lines = [line for line in batch.lines if line.means]
    if not steps and not lines:
        return ()
    involved = {step.sensor_id for step in steps} | {line.sensor.id for line in lines}
    known = dict(sensors) | registry.sensors(session, involved - sensors.keys())
    run = Evaluation.begin(session, registry, {sensor_id: known[sensor_id] for sensor_id in involved})
    for line in lines:
        run.take_ordinary(line.sensor, line.means, line.complete_seq)
    rows = settled.rows | load_rows(session, {key for step in steps for key in step.keys} - settled.rows.keys())
    for step in steps:
        standing = {key: rows[key] for key in step.keys if key in rows and rows[key].seq == step.seq}
        run.take(step.judged, [row for key, row in standing.items() if not step.late or key in settled.fresh])
    return run.finish()
