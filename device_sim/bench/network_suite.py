"""`bench network`: what a handheld sends and receives for a day's work on a network that loses every tenth packet."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import httpx

from device_sim.bench.bad_network import EDGE, BadNetwork, Spent
from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.installation import Installation, running
from device_sim.bench.measurement import PRODUCT, Measurement
from device_sim.bench.process_figures import peak_rss_mb
from device_sim.bench.segments import inspection_fields
from device_sim.handheld.client import Handheld
from device_sim.handheld.link import Backoff
from device_sim.handheld.outside import Outside
from device_sim.handheld.picture import Picture
from schemas.kinds import KINDS

INSPECTIONS, PHOTOS, PHOTO_BYTES = 50, 100, 200_000
LOSS, SEED = 0.1, 1
KB = 1_000
PATIENT = Backoff(base_s=0.0, cap_s=0.0)
"""Waiting costs no bytes."""


@dataclass(frozen=True)
class Day:
    """A day's work: how much of it."""

    inspections: int = INSPECTIONS
    photos: int = PHOTOS

    @property
    def photo_bytes(self) -> int:
        """What has to travel in any case."""
        return self.photos * PHOTO_BYTES


def seeded(seed: int = SEED) -> Outside:
    """Return an outside world that never waits, with bytes that no coding makes shorter and each run makes alike."""
    return Outside(random_bytes=random.Random(seed).randbytes, sleep=lambda _: None, jitter=lambda: 0.0)


def hand_in_a_day(handheld: Handheld, network: BadNetwork, entity: str, officers: Sequence[str], day: Day) -> Spent:
    """Write a day's work without a network, then sync it on a bad one; returns what that cost.

    Raises:
        BenchFailed: something was not taken in.
    """
    written = [handheld.outside.new_id() for _ in range(day.inspections)]
    known = KINDS["inspection"].schema().fields.keys()
    for number, record in enumerate(written):
        fields = inspection_fields(entity, officers, number)
        handheld.write(handheld.open("inspection", record), {name: fields[name] for name in fields if name in known})
    for number in range(day.photos):
        handheld.capture(written[number % len(written)], _photo(handheld, number))
    spent = network.begin(LOSS)
    handheld.sync()
    acts, files = handheld.store.pending_count(), len(handheld.store.evidence(uploaded=False))
    if acts or files or handheld.store.act_counts() != {"applied": day.inspections + day.photos}:
        raise BenchFailed(f"{acts} acts and {files} files are left; {handheld.store.act_counts()}")
    return spent


def _photo(handheld: Handheld, number: int) -> Picture:
    return Picture(
        handheld.outside.random_bytes(PHOTO_BYTES), f"{number}.jpg", "image/jpeg", "2026-03-30T10:00:00+08:00",
        {"lat": 30.55, "lon": 114.31, "datum": "WGS-84"}, f"样例照片 {number}",
    )  # fmt: skip


def _measured(platform: Installation, folder: Path, options: Options) -> Measurement:
    day = Day(options.size(INSPECTIONS), 2 * options.size(INSPECTIONS))
    with httpx.HTTPTransport() as transport:
        network = BadNetwork(transport, seed=SEED)
        client = httpx.Client(transport=network, base_url=platform.url)
        handheld = Handheld(folder / "handheld", client, outside=seeded(), backoff=PATIENT)
        handheld.enrol(platform.token("officer-000"), platform.officers[0], "基准终端")
        platform.office.approve_devices()
        handheld.sync()
        spent = hand_in_a_day(handheld, network, platform.entity, platform.officers, day)
        handheld.close()
    moved, seconds = spent.up_bytes + spent.down_bytes, spent.seconds(EDGE)
    note = f"{day.inspections} inspections and {day.photos} photos of 200 kB, every tenth packet lost; "
    note += f"{moved / day.photo_bytes:.3f} times the bytes of the photos; the rate is worked out for 2G with EDGE "
    note += f"({EDGE.up_bits_per_s // KB} kbit/s up, round trips of {EDGE.round_trip_s} s): {seconds / 60:.0f} minutes"
    return Measurement(
        moved / KB, seconds, [], peak_rss_mb(platform.server_pid), note, extra=asdict(spent), limited=False
    )


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    with running(Installation(folder / "home", devices_wanted=2)) as platform:
        yield [Case(PRODUCT, "day-2g", "kB", partial(_measured, platform, folder, options))]


NETWORK = Suite(
    name="network",
    about="what a day's work costs a handheld on 2G that loses every tenth packet: bytes and round trips; no limit",
    cases={"day-2g": "50 inspections and 100 photos of 200 kB, from the first request to the last custody receipt"},
    open=_open,
)
