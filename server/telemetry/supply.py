"""Fetches what the worker's rules look at: aggregates of a channel, of its neighbours and of its site.

Aggregates do not depend on the order, the batching or the delay of readings; so neither does what is found in them.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import BigInteger, SmallInteger, select, type_coerce
from sqlalchemy.orm import Session

from schemas.telemetry import FACTOR_NUMBERS, HOUR, MINUTE
from server.db.base import instant, micros
from server.db.engine import IN_LIST_LIMIT
from server.telemetry.averaging import HOUR_US, hour_start
from server.telemetry.measures import PER_CENT, ChannelData, compiled, measure, steps
from server.telemetry.models import Sensor, SensorProgress, StoredAggregate, StoredReading
from server.telemetry.neighbours import Neighbourhood
from server.telemetry.registry import SensorEntry, sampling_intervals
from server.telemetry.rules import ABSENCE, BREACH, DRIFT, EXPRESSION, HOUR_S, RATE, Mean, Rule
from server.telemetry.stuck import Stretch, flat_stretches, is_within

ROWS_LIMIT = 200_000
"""About how many aggregates are held in memory at once."""
END = datetime(9999, 1, 1, tzinfo=UTC)
_CODES = {number: code for code, number in FACTOR_NUMBERS.items()}
Steps = dict[tuple[str, str], list[Mean]]
"""(sensor, factor) → its valid steps."""


@dataclass
class Supply:
    """What there is to look at in one transaction."""

    session: Session
    neighbours: dict[str, Neighbourhood] = field(default_factory=dict)
    """Factor → where its sensors stand; loaded when first asked for."""

    def values(
        self, rule: Rule, sensors: Sequence[SensorEntry], since: datetime, until: datetime
    ) -> dict[str, list[Mean]]:
        """Return sensor → the rule's values from `since` up to `until` (not included), in order of time."""
        before = since - rule.window if rule.measure == RATE else since
        count = max(1, int((until - before) / rule.step))
        size = max(1, min(IN_LIST_LIMIT, ROWS_LIMIT // count))
        found: dict[str, list[Mean]] = {}
        for start in range(0, len(sensors), size):
            chunk = sensors[start : start + size]
            data = self._data(rule, chunk, before, until)
            flat = self._flat(rule, [sensor.id for sensor in chunk], before, until)
            for sensor in chunk:
                means, stuck = measure(rule, data[sensor.id]), flat.get(sensor.id, ())
                found[sensor.id] = [mean for mean in means if mean.at >= since and not is_within(mean.at, stuck)]
        return found

    def _flat(self, rule: Rule, names: Sequence[str], since: datetime, until: datetime) -> dict[str, list[Stretch]]:
        """Return when channels stood still, for rules that accuse of a breach: such values are no basis for it."""
        if rule.category != BREACH:
            return {}
        return flat_stretches(self.session, rule.factor, names, since, until)

    def neighbourhood(self, factor: str) -> Neighbourhood:
        """Return where the sensors of a factor stand."""
        if factor not in self.neighbours:
            self.neighbours[factor] = Neighbourhood.load(self.session, factor)
        return self.neighbours[factor]

    def said(self, rule: Rule, sensor_id: str, since: datetime) -> list[Mean]:
        """Return the hourly means that a sensor itself said, as far as its messages are complete, from `since` on."""
        complete = select(SensorProgress.complete_seq).where(SensorProgress.sensor_id == sensor_id).scalar_subquery()
        query = select(StoredReading.at, StoredReading.value).where(
            StoredReading.at >= since, StoredReading.sensor_id == sensor_id, StoredReading.factor == rule.factor,
            StoredReading.kind == HOUR, StoredReading.valid, StoredReading.seq <= complete,
        )  # fmt: skip
        rows = self.session.execute(query.order_by(StoredReading.at))
        stuck = self._flat(rule, [sensor_id], since, END).get(sensor_id, ())
        means = [Mean(at, value) for at, value in rows if value is not None and rule.in_force(at)]
        return [mean for mean in means if not is_within(mean.at, stuck)]

    def _data(
        self, rule: Rule, sensors: Sequence[SensorEntry], since: datetime, until: datetime
    ) -> dict[str, ChannelData]:
        ids = [sensor.id for sensor in sensors]
        if rule.measure == ABSENCE:
            return {sensor.id: ChannelData(missing=self._missing(rule, sensor, since, until)) for sensor in sensors}
        if rule.measure == EXPRESSION:
            return self._sites(rule, sensors, since, until)
        around = {}
        if rule.measure == DRIFT:
            places = self.neighbourhood(rule.factor)
            around = {sensor_id: places.near(sensor_id, rule.radius_km) for sensor_id in ids}
        wanted = set(ids).union(*around.values())
        series = self._steps([rule.factor], wanted, rule.step_s, since, until)
        maps: dict[str, Mapping[datetime, float]] = {
            name: {mean.at: mean.value for mean in series.get((name, rule.factor), ())}
            for name in set().union(*around.values())
        }
        return {
            sensor_id: ChannelData(
                own=series.get((sensor_id, rule.factor), []),
                neighbours=[maps[name] for name in around.get(sensor_id, ())],
            )
            for sensor_id in ids
        }

    def _steps(
        self, factors: Iterable[str], sensor_ids: Iterable[str], step_s: int, since: datetime, until: datetime
    ) -> Steps:
        tier = HOUR if step_s == HOUR_S else MINUTE
        wanted = sorted(sensor_ids)
        rows: defaultdict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
        table = StoredAggregate
        columns = (table.sensor_id, type_coerce(table.factor, SmallInteger), type_coerce(table.at, BigInteger))
        for start in range(0, len(wanted), IN_LIST_LIMIT):
            query = select(*columns, table.mean).where(
                table.sensor_id.in_(wanted[start : start + IN_LIST_LIMIT]),
                table.factor.in_(sorted(factors)),
                table.tier == tier, table.at >= since, table.at < until, table.valid,
            )  # fmt: skip
            ordered = query.order_by(table.sensor_id, table.factor, table.at)
            for sensor_id, factor, at, mean in self.session.execute(ordered):
                rows[sensor_id, factor].append((at, mean or 0.0))
        if tier == HOUR:
            return {
                (sensor_id, _CODES[factor]): [Mean(instant(at), value) for at, value in found]
                for (sensor_id, factor), found in rows.items()
            }
        intervals = sampling_intervals(self.session, {sensor_id for sensor_id, _ in rows})
        return {
            (sensor_id, _CODES[factor]): steps(found, step_s, intervals.get((sensor_id, factor)))
            for (sensor_id, factor), found in rows.items()
        }

    def _missing(self, rule: Rule, sensor: SensorEntry, since: datetime, until: datetime) -> list[Mean]:
        """Return for each hour of a channel's life, outside its periods, which part of its data is missing."""
        table = StoredAggregate
        mine = (table.sensor_id == sensor.id, table.factor == rule.factor, table.tier == HOUR)
        born = self.session.scalar(select(table.at).where(*mine).order_by(table.at).limit(1))
        if born is None:
            born = self.session.scalar(select(Sensor.created_at).where(Sensor.id == sensor.id)) or until
        query = select(type_coerce(table.at, BigInteger), table.share).where(
            *mine, table.at >= since, table.at < until
        )  # fmt: skip
        shares: dict[int, float] = dict(self.session.execute(query).all())
        first = max(hour_start(micros(since) + HOUR_US - 1), hour_start(micros(born) + HOUR_US - 1))
        quiet = [(begins, ends) for _, begins, ends in sensor.periods]
        return [
            Mean(instant(at), PER_CENT * (1 - shares.get(at, 0.0)))
            for at in range(first, micros(until), HOUR_US)
            if not any(begins < at + HOUR_US and at < ends for begins, ends in quiet)
        ]

    def _sites(
        self, rule: Rule, sensors: Sequence[SensorEntry], since: datetime, until: datetime
    ) -> dict[str, ChannelData]:
        """Return each sensor's site: its own channels, and the means of the others' at its entity."""
        at_entity: defaultdict[str, list[str]] = defaultdict(list)
        entities = sorted({sensor.entity_id for sensor in sensors})
        query = select(Sensor.entity_id, Sensor.id).where(Sensor.entity_id.in_(entities)).order_by(Sensor.id)
        for entity_id, sensor_id in self.session.execute(query):
            at_entity[entity_id].append(sensor_id)
        factors = compiled(rule.expression).factors
        everyone = {name for names in at_entity.values() for name in names}
        series = self._steps(factors, everyone, rule.step_s, since, until)
        found: dict[str, ChannelData] = {}
        for sensor in sensors:
            site: dict[str, Mapping[datetime, float]] = {}
            for factor in factors:
                own = [sensor.id] if factor in sensor.channels else at_entity[sensor.entity_id]
                site[factor] = _mean_of([series.get((name, factor), []) for name in own])
            found[sensor.id] = ChannelData(site=site)
        return found


def _mean_of(series: Sequence[Sequence[Mean]]) -> dict[datetime, float]:
    """Return the mean of several channels, step by step, of those that say something."""
    values: defaultdict[datetime, list[float]] = defaultdict(list)
    for channel in series:
        for mean in channel:
            values[mean.at].append(mean.value)
    return {at: math.fsum(several) / len(several) for at, several in values.items()}
