"""A fleet of sensors over MQTT QoS 1 that replays the files of a data folder, with faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from device_sim.sample.reading import SkipReport
from device_sim.sample.sources import SAMPLE_DIR
from device_sim.sample.telemetry import FILE_PREFIX, FILE_SUFFIX, SERIES_FILES, read_observations, station_of
from device_sim.sensors.downlink import Downlink
from device_sim.sensors.faults import NO_FAULTS, Faults, mismeasured, on_the_way
from device_sim.sensors.link import SensorLink, SensorSpec, Stalled
from device_sim.sensors.outbox import Outbox
from device_sim.sensors.record import PublishedRecord
from device_sim.sensors.replay import ReplayPlan, outgoing

SENSORS_LIMIT = 1_000
"""Most sensors in one process: each has a connection and a thread."""
STALL_S = 30.0
"""Without any PUBACK or receipt for this long the fleet gives up; the broker may be restarted in between."""
PROGRESS_S = 2.0


@dataclass(frozen=True)
class FleetResult:
    """What a fleet did; `published` counts distinct readings (an unreadable message counts as one)."""

    sensors: int
    messages: int
    repeats: int
    published: int
    seconds: float
    skipped_rows: dict[str, int] = field(default_factory=dict)


def station_files(folder: Path | None) -> list[Path]:
    """Return the station files of a data folder, or of the sample if it has none."""
    pattern = f"{FILE_PREFIX}*{FILE_SUFFIX}"
    found = sorted((folder / "telemetry").glob(pattern)) if folder is not None else []
    return found or sorted((SAMPLE_DIR / "telemetry").glob(pattern))


def station_paths(folder: Path | None) -> dict[str, Path]:
    """Return station name → file, of a data folder or of the sample; series of machines are stations too."""
    series = sorted((folder / "telemetry").glob(SERIES_FILES)) if folder is not None else []
    return {station_of(path): path for path in [*station_files(folder), *series]}


def run_fleet(
    specs: Sequence[SensorSpec],
    address: tuple[str, int],
    plan: ReplayPlan,
    readings_limit: int,
    record: PublishedRecord,
    *,
    readings_per_s: float = 0,
    say: Callable[[str], None] = print,
    faults: Faults = NO_FAULTS,
    outboxes: Path | None = None,
    disturb: Callable[[int], None] = lambda _count: None,
    stall_s: float | None = None,
) -> FleetResult:
    """Publish the stations' hours through a broker and return when everything is acknowledged.

    Args:
        specs: the sensors.
        address: host and port of the broker.
        plan: how hours become messages.
        readings_limit: about how many readings the fleet publishes together; 0: all there are.
        record: takes note of what was acknowledged.
        readings_per_s: how fast at most; 0: as fast as the broker takes them.
        say: prints a line of progress.
        faults: what goes wrong.
        outboxes: folder in which sensors that ask for receipts keep their messages; None: in memory.
        disturb: called with how much is settled, again and again; whatever it does goes on beside the fleet.
        stall_s: in place of :data:`STALL_S`.

    Raises:
        Stalled: the broker refuses a sensor, or acknowledges nothing for `stall_s`.
        ValueError: no sensors, or more than :data:`SENSORS_LIMIT`.
    """
    if not 0 < len(specs) <= SENSORS_LIMIT:
        raise ValueError(f"a fleet has 1 to {SENSORS_LIMIT} sensors")
    report, share = SkipReport(), -(-readings_limit // len(specs))
    started = time.monotonic()
    links: list[SensorLink] = []
    try:
        for spec in specs:
            hours = read_observations(spec.path, report)
            downlink = Downlink(spec.sensor, faults)
            measured = downlink.sampling.thin(mismeasured(hours, faults))
            messages = on_the_way(outgoing(measured, spec.sensor, plan, share), faults)
            outbox = Outbox(outboxes / f"{spec.sensor}.db" if outboxes else None) if plan.receipts else None
            links.append(SensorLink(spec, messages, address, downlink, outbox))
        _drive(links, record, readings_per_s, say, faults, disturb, STALL_S if stall_s is None else stall_s)
    finally:
        for link in links:
            link.close()
    return FleetResult(
        sensors=len(links),
        messages=sum(link.sent for link in links),
        repeats=sum(link.repeats for link in links),
        published=len(record),
        seconds=round(time.monotonic() - started, 3),
        skipped_rows=dict(report.counts),
    )


def _drive(
    links: list[SensorLink],
    record: PublishedRecord,
    readings_per_s: float,
    say: Callable[[str], None],
    faults: Faults,
    disturb: Callable[[int], None],
    stall_s: float,
) -> None:
    started = heard_at = said_at = time.monotonic()
    random = Random(f"{faults.seed}-power")
    while not all(link.done for link in links):
        now = time.monotonic()
        ahead = readings_per_s > 0 and len(record) > readings_per_s * (now - started)
        count = 0
        for place, link in enumerate(links):
            collected = link.collect(record)
            count += collected
            if not ahead:
                link.push()
            # by messages, not by turns of this loop: a slow machine would meet the more of them, and slow down by it
            if collected and not link.done and random.random() < faults.power_cut * collected:
                links[place] = link.after_power_cut()
        if count:
            disturb(len(record))
            heard_at = time.monotonic()
        else:
            time.sleep(0.002)
        if now - said_at >= PROGRESS_S:
            say(f"sensors: {len(record)} readings published")
            said_at = now
        if now - heard_at > stall_s:
            reasons = {link.fault for link in links if link.fault}
            raise Stalled("; ".join(sorted(reasons)) or f"no acknowledgement for {stall_s:.0f} s")
