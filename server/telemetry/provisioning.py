"""Device types, and the periods in which nothing a sensor says counts; every change is seen by the ingesters."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from schemas.telemetry import FACTORS, unit_scale
from server.errors import Problem
from server.runtime import Runtime
from server.telemetry.counting import REGISTRY_VERSION, raise_counters
from server.telemetry.models import DeviceType, SensorPeriod
from server.telemetry.registry import PERIODS
from server.telemetry.revalidation import revalidate

PERIODS_LIMIT = 1_000
"""Most periods of one sensor."""


def channels_of(channels: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return channels as they are stored: ranges in the factor's unit, whatever unit the channel speaks.

    Raises:
        Problem: `invalid-field`.
    """
    stored: dict[str, dict[str, Any]] = {}
    for code, channel in sorted(channels.items()):
        factor = FACTORS.get(code)
        if factor is None:
            raise Problem("invalid-field", field="channels", detail=f"unknown factor {code[:64]}")
        unit = channel.get("unit", factor.unit)
        scale = unit_scale(unit, factor.unit)
        if scale is None:
            raise Problem("invalid-field", field="channels", detail=f"{code} cannot be given in {unit}")
        low = channel["low"] * scale if "low" in channel else factor.low
        high = channel["high"] * scale if "high" in channel else factor.high
        if low >= high:
            raise Problem("invalid-field", field="channels", detail=f"the range of {code} is empty")
        rest = {name: channel[name] for name in ("unit", "precision", "interval_s") if name in channel}
        stored[code] = {"low": low, "high": high, **rest}
    return stored


def put_device_type(
    session: Session, code: str, *, title_zh: str, title_en: str, channels: Mapping[str, Mapping[str, Any]]
) -> DeviceType:
    """Add a device type, or change what is known of it; sensors registered before keep their channels.

    Raises:
        Problem: `invalid-field`.
    """
    row = session.get(DeviceType, code) or DeviceType(code=code)
    row.title_zh, row.title_en, row.channels = title_zh, title_en, channels_of(channels)
    session.add(row)
    session.flush()
    return row


def list_device_types(session: Session) -> Sequence[DeviceType]:
    """Return all device types by code."""
    return session.scalars(select(DeviceType).order_by(DeviceType.code)).all()


def get_device_type(session: Session, code: str) -> DeviceType:
    """Return a device type.

    Raises:
        Problem: `invalid-field` if there is none.
    """
    row = session.get(DeviceType, code)
    if row is None:
        raise Problem("invalid-field", field="device_type", detail="no such device type")
    return row


def add_period(
    session: Session,
    rt: Runtime,
    sensor_id: str,
    *,
    kind: str,
    starts_at: datetime,
    ends_at: datetime | None,
    note: str,
) -> SensorPeriod:
    """Add a period; readings with data times in it do not count, those that are stored already included.

    Raises:
        Problem: `invalid-field`, `conflict` with another period of the kind, or `limit-exceeded`.
    """
    if kind not in PERIODS:
        raise Problem("invalid-field", field="kind", detail=f"must be one of {', '.join(PERIODS)}")
    if ends_at is not None and ends_at <= starts_at:
        raise Problem("invalid-field", field="ends_at", detail="must lie after the start")
    others = [row for row in list_periods(session, sensor_id) if row.kind == kind]
    if len(others) >= PERIODS_LIMIT:
        raise Problem("limit-exceeded", field="periods", limit=PERIODS_LIMIT)
    if any((row.ends_at is None or row.ends_at > starts_at) and (ends_at is None or row.starts_at < ends_at)
           for row in others):  # fmt: skip
        raise Problem("conflict", field="starts_at", detail="another period of this kind overlaps")
    row = SensorPeriod(id=rt.new_id(), sensor_id=sensor_id, kind=kind, starts_at=starts_at, ends_at=ends_at, note=note)
    session.add(row)
    session.flush()
    raise_counters(session, {REGISTRY_VERSION: 1})
    revalidate(session, sensor_id, starts_at, ends_at)
    return row


def end_period(session: Session, sensor_id: str, period_id: str, ends_at: datetime) -> SensorPeriod:
    """End a period that lasts.

    Raises:
        Problem: `not-found`, `illegal-transition` if it has ended, or `invalid-field`.
    """
    row = session.get(SensorPeriod, period_id)
    if row is None or row.sensor_id != sensor_id:
        raise Problem("not-found", detail="no such period")
    if row.ends_at is not None:
        raise Problem("illegal-transition", field="ends_at", detail="the period has ended")
    if ends_at <= row.starts_at:
        raise Problem("invalid-field", field="ends_at", detail="must lie after the start")
    row.ends_at = ends_at
    session.flush()
    raise_counters(session, {REGISTRY_VERSION: 1})
    revalidate(session, sensor_id, ends_at, None)
    return row


def list_periods(session: Session, sensor_id: str, at: datetime | None = None) -> Sequence[SensorPeriod]:
    """Return a sensor's periods by start; with `at`, those in force then."""
    query = select(SensorPeriod).where(SensorPeriod.sensor_id == sensor_id)
    if at is not None:
        lasting = or_(SensorPeriod.ends_at.is_(None), SensorPeriod.ends_at > at)
        query = query.where(SensorPeriod.starts_at <= at, lasting)
    return session.scalars(query.order_by(SensorPeriod.starts_at, SensorPeriod.id)).all()
