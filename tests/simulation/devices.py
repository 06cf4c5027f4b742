"""A handheld and its officer inside the simulation: wrong clocks, crashes at every save, older copies brought back."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from device_sim.handheld.client import Handheld
from device_sim.handheld.forms import Form
from device_sim.handheld.link import Backoff
from device_sim.handheld.outside import Outside
from device_sim.handheld.pull import UNSURE
from device_sim.handheld.reconciling import Reconciler
from tests.simulation.in_process import SimClock
from tests.simulation.network import Violation

YEARS_TO_2035_MS = 9 * 365 * 86_400_000
MAX_SLEEP_S = 20.0
ATTEMPTS = 4


class DeviceCrash(BaseException):
    """The handheld dies here. No `Exception`: nothing in it may catch it."""


_agrees = Reconciler.agrees


def agrees_by_its_feed(reconciler: Reconciler, cursor: str) -> bool | None:
    """As the handheld's own comparison, which mends what the feed left out: here that must never be needed."""
    found = _agrees(reconciler, cursor)
    if found is False and not reconciler.store.get(UNSURE):
        raise Violation("the feed left something out: a handheld that followed it differs")
    return found


@dataclass
class SimDevice:
    """One handheld with its folder, through all its crashes and restores."""

    name: str
    officer: int
    folder: Path
    clock: SimClock
    random: random.Random
    client: httpx.Client
    skew_ms: int = 0
    busy: bool = False
    revoked: bool = False
    crash_in: int | None = None
    """After how many more save points the device dies."""
    forms: list[Form] = field(default_factory=list)
    """Forms left open: what they show grows old."""
    written: dict[str, tuple[bytes, bytes, bytes]] = field(default_factory=dict)
    """Every act that was ever saved, by hash, with its bytes."""
    saved: int = 0
    """How many acts the present folder must at least hold."""
    damaged: set[str] = field(default_factory=set)
    """Evidence whose file was damaged on the device before its upload."""
    copy: Path | None = None
    copied: int = 0
    boots: int = 0
    approved: bool = False
    forgotten: bool = False
    """Whether a restored server does not know it: its officer has to enrol it anew."""
    ident: str = ""
    """Its id, as long as it is enrolled."""
    wiped_as: list[str] = field(default_factory=list)
    """Ids under which it was wiped."""

    def __post_init__(self) -> None:
        """Switch on."""
        self.handheld = self._open()
        self.ident = self.handheld.device

    def _open(self) -> Handheld:
        boot_ms = self.clock.now_ms()
        self.boots += 1
        outside = Outside(
            wall_ms=lambda: self.clock.now_ms() + self.skew_ms,
            mono_ms=lambda: self.clock.now_ms() - boot_ms,
            random_bytes=self.random.randbytes,
            jitter=self.random.random,
            sleep=lambda seconds: self.clock.advance(min(seconds, MAX_SLEEP_S)),
        )
        handheld = Handheld(
            self.folder, self.client, outside=outside, backoff=Backoff(base_s=0.5, attempts=ATTEMPTS),
            key=self.random.randbytes(32),
        )  # fmt: skip
        real = handheld.store.saving

        @contextmanager
        def saving() -> Iterator[None]:
            with real():
                yield
                self.crash_point()
            self.crash_point()

        erase = handheld.wipe

        def wipe(ordered_at_ms: int) -> None:
            self._remember()  # acts that were written again after a fork, and pushed, in this very sync
            erase(ordered_at_ms)

        handheld.wipe = wipe  # type: ignore[method-assign]
        handheld.store.saving = saving  # type: ignore[method-assign]  # the save points are where a device may die
        return handheld

    def crash_point(self) -> None:
        """Die here if it is time."""
        if self.crash_in is None:
            return
        self.crash_in -= 1
        if self.crash_in <= 0:
            self.crash_in = None
            raise DeviceCrash

    def reboot(self) -> None:
        """Start again from the folder, as after a crash or an empty battery: forms are gone, saved acts are not."""
        self.crash_in = None
        self.forms.clear()
        self.handheld.close()
        self.handheld = self._open()
        if self.noticed_wipe():
            return
        count = self.count()
        if count < self.saved:
            raise Violation(f"{self.name} lost saved acts: {count} of {self.saved} are left")

    def noticed_wipe(self) -> bool:
        """Take note of it if the handheld has erased itself; it is as good as new then."""
        if not self.ident or self.handheld.device:
            return False
        self.wiped_as.append(self.ident)
        self.ident, self.saved, self.copy, self.approved = "", 0, None, False
        self.forms.clear()
        return True

    def count(self) -> int:
        """How many acts the store holds."""
        return int(self.handheld.store.db.execute("SELECT count(*) FROM acts").fetchone()[0])

    def harvest(self) -> None:
        """Remember everything that was saved so far."""
        self.ident = self.handheld.device or self.ident
        if self.noticed_wipe():
            self.reboot()
        self._remember()

    def _remember(self) -> None:
        count = self.count()
        if count == self.saved:
            return
        rows = self.handheld.store.db.execute("SELECT hash, header, body, personal FROM acts")
        self.written |= {row[0]: (row[1], row[2], row[3]) for row in rows.fetchall()}
        self.saved = count

    def back_up(self) -> None:
        """Keep a copy of the folder as it is now."""
        self.copy = self.folder.with_name(f"{self.folder.name}-copy")
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.folder, self.copy, ignore=shutil.ignore_patterns("*-shm"))
        self.copied = self.saved

    def restore(self) -> None:
        """Bring the older copy back; what was written since and never pushed is gone."""
        if self.copy is None:
            return
        self.handheld.close()
        shutil.rmtree(self.folder)
        shutil.copytree(self.copy, self.folder)
        self.saved = self.copied
        self.crash_in = None
        self.forms.clear()
        self.handheld = self._open()

    def close(self) -> None:
        """Switch off for good."""
        self.handheld.close()
        self.client.close()
