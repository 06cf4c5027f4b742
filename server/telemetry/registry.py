"""What an ingester remembers of the registry: sensors with their measuring ranges, and the rules.

Both change seldom and are needed for every message. Each change raises a version in its own transaction
(`counting.REGISTRY_VERSION`); a batch reads it first and forgets everything when it is another one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from sys import intern
from typing import Any, cast

from msgspec import Struct
from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from schemas.telemetry import FACTOR_NUMBERS, FACTORS, unit_scale
from server.db.base import micros
from server.db.bulk import Bulk
from server.db.engine import IN_LIST_LIMIT
from server.telemetry.counting import registry_version
from server.telemetry.models import RuleVersion, Sensor, SensorPeriod
from server.telemetry.rule_life import JUDGING
from server.telemetry.rules import Rule
from server.telemetry.validation import Range

REMEMBERED_LIMIT = 20_000
"""Most sensors remembered; a batch's own sensors are there in any case."""

PERIODS = {"calibration": "calibrating", "maintenance": "maintained", "out-of-service": "out-of-service"}
"""Kind of period → why what is said in it does not count."""
SENSORS = Bulk(cast(Table, Sensor.__table__), ("id", "name", "entity_id", "region", "department", "channels"))
HAVE_PERIODS = Bulk(cast(Table, SensorPeriod.__table__), ("sensor_id",))
RULE_COLUMNS = tuple(field.name for field in fields(Rule) if field.name in RuleVersion.__table__.columns)

Period = tuple[str, int, int]
"""(reason of invalidity, first microsecond, end)."""
FOREVER = 2**63 - 1
Channel = tuple[str, int]
"""(sensor, number of the factor)."""


class SensorEntry(Struct, frozen=True):
    """A registered sensor, as far as an ingester needs to know it."""

    id: str
    name: str
    entity_id: str
    region: str
    department: str
    channels: Mapping[str, Range]
    periods: tuple[Period, ...] = ()
    """When nothing it says counts."""


class Registry:
    """Sensors and rules as of the version that :meth:`refresh` has seen."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._version = -1
        self._sensors: dict[str, SensorEntry] = {}
        self._rules: tuple[Rule, ...] = ()
        self._applying: dict[tuple[str, str, str, str], tuple[Rule, ...]] = {}
        self._named: frozenset[str] = frozenset()
        self._ranges: dict[str, Mapping[str, Range]] = {}

    def refresh(self, session: Session) -> None:
        """Forget what is remembered if the registry has changed."""
        version = registry_version(session)
        if version == self._version:
            return
        self._sensors.clear()
        self._applying.clear()
        self._ranges.clear()
        judging = select(RuleVersion).where(RuleVersion.status.in_(JUDGING))
        ordered = judging.order_by(RuleVersion.code, RuleVersion.version)
        self._rules = tuple(as_rule(row) for row in session.scalars(ordered))
        self._named = frozenset(rule.entity_id for rule in self._rules)
        self._version = version

    def sensors(self, session: Session, sensor_ids: Iterable[str]) -> dict[str, SensorEntry]:
        """Return the registered ones among `sensor_ids`."""
        wanted = set(sensor_ids)
        missing = sorted(wanted - self._sensors.keys() - {""})
        if len(self._sensors) + len(missing) > REMEMBERED_LIMIT:
            self._sensors.clear()
            missing = sorted(wanted - {""})
        periods = load_periods(session, sorted({row[0] for row in HAVE_PERIODS.find(session, "sensor_id", missing)}))
        for sensor_id, name, entity_id, region, department, channels in SENSORS.find(session, "id", missing):
            place, ranges, mine = (
                (intern(region), intern(department)),
                self._channels(channels),
                periods.get(sensor_id, ()),
            )
            self._sensors[sensor_id] = SensorEntry(sensor_id, name, entity_id, *place, ranges, mine)
        return {sensor_id: self._sensors[sensor_id] for sensor_id in wanted if sensor_id in self._sensors}

    def rules_for(self, sensor: SensorEntry, factor: str) -> tuple[Rule, ...]:
        """Return the immediate rules, in force or not, that concern a factor of a sensor."""
        entity_id = sensor.entity_id if sensor.entity_id in self._named else ""
        key = (sensor.region, sensor.department, entity_id, factor)
        found = self._applying.get(key)
        if found is None:
            found = tuple(rule for rule in self.concerning(sensor, factor) if rule.immediate)
            self._applying[key] = found
        return found

    def concerning(self, sensor: SensorEntry, factor: str) -> tuple[Rule, ...]:
        """Return all rules, in force or not, that concern a factor of a sensor."""
        place = (sensor.region, sensor.department, sensor.entity_id)
        return tuple(rule for rule in self._rules if rule.applies(factor, *place))

    @property
    def version(self) -> int:
        """What :meth:`refresh` has seen; another number, and everything may be different."""
        return self._version

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules that judge or have judged, by code and version."""
        return self._rules

    def _channels(self, stored: str) -> Mapping[str, Range]:
        """Return measuring ranges; sensors of one type share one object."""
        found = self._ranges.get(stored)
        if found is None:
            found = {factor: as_range(factor, row) for factor, row in json.loads(stored).items()}
            self._ranges[stored] = found
        return found


def load_periods(session: Session, sensor_ids: Sequence[str]) -> dict[str, tuple[Period, ...]]:
    """Return sensor → the periods in which nothing it says counts."""
    found: dict[str, tuple[Period, ...]] = {}
    mine = SensorPeriod.sensor_id.in_(sensor_ids)
    for row in session.scalars(select(SensorPeriod).where(mine).order_by(SensorPeriod.starts_at)):
        ends = FOREVER if row.ends_at is None else micros(row.ends_at)
        found[row.sensor_id] = (*found.get(row.sensor_id, ()), (PERIODS[row.kind], micros(row.starts_at), ends))
    return found


def sampling_intervals(session: Session, sensor_ids: Iterable[str]) -> dict[Channel, int]:
    """Return how often channels sample, in seconds, as far as the registry says."""
    wanted, found = sorted(sensor_ids), {}
    for start in range(0, len(wanted), IN_LIST_LIMIT):
        mine = Sensor.id.in_(wanted[start : start + IN_LIST_LIMIT])
        for sensor_id, channels in session.execute(select(Sensor.id, Sensor.channels).where(mine)):
            for factor, channel in channels.items():
                if "interval_s" in channel:
                    found[sensor_id, FACTOR_NUMBERS[factor]] = channel["interval_s"]
    return found


def as_range(factor: str, channel: Mapping[str, Any]) -> Range:
    """Return the measuring range of a stored channel, in the factor's unit."""
    wanted = FACTORS[factor].unit
    scale = unit_scale(channel.get("unit", wanted), wanted) or 1.0
    low, high = channel["low"], channel["high"]
    least, most = FACTORS[factor].possible
    if least <= low and high <= most:
        return Range(low, high, scale)
    return Range(max(low, least), min(high, most), scale, (low, high))


def as_rule(version: RuleVersion) -> Rule:
    """Return the pure rule of a stored version."""
    columns = {name: value for name in RULE_COLUMNS if (value := getattr(version, name)) is not None}
    return Rule(**columns, **(version.settings or {}))
