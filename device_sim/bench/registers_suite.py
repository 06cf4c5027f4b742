"""`bench registers`: entities are imported from a CSV, then found by fragment, code and place, then drawn from.

The limit of importing and drawing is reading and hashing the very file that was read or written.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.installation import Installation, running
from device_sim.bench.light_client import LightClient
from device_sim.bench.measurement import PRODUCT, RAW, Measurement
from device_sim.bench.own_process import in_own_process
from device_sim.bench.process_figures import peak_rss_mb, reset_peak
from device_sim.demo.programs import ProgramFailed, tail
from schemas.divisions import full_name, townships
from schemas.identifiers import USCC_ALPHABET, make_uscc

ENTITIES = 100_000
SEARCHES = 200
TIMEOUT_S = 3_600.0
COLUMNS = (
    "name", "uscc", "region", "registered_address", "lat", "lon", "datum", "sector", "risk", "credit",
)  # fmt: skip
FIRST = "青禾 云溪 江月 竹里 晴川 樱园 荷塘 松风 梅岭 星河 麦田 橙光 石桥 芦花 白鹭 珞珈 柳岸 枫林 碧潭 杏坊".split()  # noqa: SIM905
SECOND = "食品 药房 机械 信贷 物流 化工 诊所 旅行 采石 超市".split()  # noqa: SIM905 - a list of words reads better so
SECTORS = (
    "market", "drugs", "work_safety", "finance", "transport", "ecology", "health", "culture_tourism",
    "natural_resources", "market",
)  # fmt: skip
SERIALS, STEP = 31**6, 412_345_677
"""Multiples of the step, which 31 does not divide, visit every serial number once."""
COPY_BYTES = 1 << 20


def write_entities(path: Path, count: int) -> list[tuple[str, str, str]]:
    """Write a CSV of synthetic entities; returns (fragment of the name, code, township) of some of them."""
    places = [(one.code, one.parent, full_name(one.code)) for one in townships()]
    rng, asked = random.Random(11), []
    with path.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(COLUMNS)
        for number in range(count):
            township, county, name = places[int(rng.random() * len(places))]
            first, kind = FIRST[int(rng.random() * len(FIRST))], int(rng.random() * len(SECOND))
            uscc = make_uscc("91", county, f"FX{_letters(number * STEP % SERIALS)}")
            firm = f"样例{first}{SECOND[kind]}{number:07d}号"
            lat, lon = round(30 + rng.random(), 6), round(112 + 2 * rng.random(), 6)
            grades = ("ABCD"[int(rng.random() ** 2 * 4)], "ABCD"[int(rng.random() ** 2 * 4)])
            table.writerow((firm, uscc, township, f"{name}虚构路1号", lat, lon, "WGS-84", SECTORS[kind], *grades))
            if number % max(1, count // SEARCHES) == 0:
                asked.append((first, uscc, township))
    return asked


def _letters(number: int) -> str:
    text = ""
    for _ in range(6):
        number, rest = divmod(number, 31)
        text += USCC_ALPHABET[rest]
    return text


@dataclass
class RegistersBench:
    """The running platform, the file that is imported, and what is asked for afterwards."""

    platform: Installation
    folder: Path
    options: Options
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """The CSV."""
        return self.folder / "entities.csv"

    @property
    def drawn(self) -> Path:
        """What the draw publishes."""
        return self.folder / "draw.jsonl"

    def import_(self) -> Measurement:
        """Import the file with the command; every row must have been entered."""
        count = self.options.size(ENTITIES)
        self.asked = write_entities(self.file, count)
        report = self.folder / "report.json"
        seconds, peak = self.run("import", ["entities", "import", str(self.file), "--report", str(report)])
        entered = json.loads(report.read_text("utf-8"))["entered"]
        if entered != count:
            raise BenchFailed(f"{entered} of {count} entities were entered")
        megabytes = self.file.stat().st_size / 1e6
        note = f"{count:,} entities, {megabytes:,.0f} MB of CSV in {seconds:,.1f} s: each row checked, indexed, "
        note += "audited and published to handhelds; 2,000 rows a transaction, durable: SQLite WAL, FULL"
        return Measurement(count, seconds, [seconds], peak, note)

    def run(self, name: str, arguments: list[str]) -> tuple[float, float]:
        """Run a command of the platform; returns how long it took and its peak of memory."""
        before = time.perf_counter()
        program, peak = self.platform.programs.start(name, arguments), 0.0
        while program.process.poll() is None:
            peak = max(peak, peak_rss_mb(program.process.pid))
            if time.perf_counter() - before > TIMEOUT_S:
                raise BenchFailed(f"{name} did not end within {TIMEOUT_S:.0f} s")
            time.sleep(0.05)
        seconds = time.perf_counter() - before
        self.platform.programs.running.remove(program)
        if program.process.returncode:
            raise ProgramFailed(f"{name} ended with {program.process.returncode}:\n{tail(program.log)}")
        return seconds, peak

    def raw_import(self) -> Measurement:
        """Read and hash the same file."""
        return in_own_process(raw_read, str(self.file), self.options.size(ENTITIES), "entities")

    def search(self, kind: str) -> Measurement:
        """Ask over HTTP, one connection, one question after the other; each must find what it asks for."""
        pid = self.platform.server_pid
        reset_peak(pid)
        headers = {"Authorization": f"Bearer {self.platform.token('auditor')}"}
        latencies = []
        with LightClient(self.platform.url, headers) as client:
            for fragment, code, township in self.asked[:SEARCHES]:
                question = {"name": f"q={quote(fragment)}", "code": f"q={code}", "place": f"region={township}"}[kind]
                before = time.perf_counter()
                answer = client.send("GET", f"/api/v1/entities?{question}")
                latencies.append(time.perf_counter() - before)
                self._check(kind, json.loads(answer.body)["entities"], (fragment, code, township))
        note = (
            f"{len(latencies)} questions among {self.options.size(ENTITIES):,} entities, pages of 50, over HTTP with "
        )
        note += "identification of the caller and one connection"
        return Measurement(len(latencies), sum(latencies), latencies, peak_rss_mb(pid), note, limited=False)

    def _check(self, kind: str, found: list[dict[str, str]], asked: tuple[str, str, str]) -> None:
        fragment, code, township = asked
        right = {
            "name": all(fragment in one["name"] for one in found),
            "code": [one["uscc"] for one in found] == [code],
            "place": all(one["region"] == township for one in found),
        }[kind]
        if not found or not right:
            raise BenchFailed(f"{kind}: {asked} was not found")

    def draw(self) -> Measurement:
        """Draw from the entities of one sector and write the published file, with the command."""
        seconds, peak = self.run("draw", ["draw", "run", "--seed", "7", "--out", str(self.drawn)])
        drawn, _ = self.run("verify", ["draw", "verify", str(self.drawn)])
        count = self.options.size(ENTITIES)
        note = f"{count:,} entities in the register, those of the sector market in the roster; the published file has "
        note += f"{self.drawn.stat().st_size / 1e6:,.0f} MB and was reproduced from itself in {drawn:,.1f} s"
        return Measurement(count, seconds, [seconds], peak, note)

    def raw_draw(self) -> Measurement:
        """Read and hash the published file."""
        return in_own_process(raw_read, str(self.drawn), self.options.size(ENTITIES), "entities in the register")


def raw_read(path: str, count: int, unit: str) -> Measurement:
    """Read a file and hash it."""
    started, digest, size = time.perf_counter(), hashlib.sha256(), 0
    with Path(path).open("rb") as file:
        while block := file.read(COPY_BYTES):
            digest.update(block)
            size += len(block)
    seconds = time.perf_counter() - started
    return Measurement(count, seconds, [seconds], 0.0, f"{count:,} {unit}: {size / 1e6:,.1f} MB read and hashed")


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    with running(Installation(folder / "home")) as platform:
        bench = RegistersBench(platform, folder, options)
        bench.run("sample", ["seed", "--entities", "1", "--seed", "1"])  # items, checklists and officers to draw with
        yield [
            Case(PRODUCT, "import", "entities", bench.import_),
            Case(RAW, "import", "entities", bench.raw_import),
            Case(PRODUCT, "search-name", "questions", lambda: bench.search("name")),
            Case(PRODUCT, "search-code", "questions", lambda: bench.search("code")),
            Case(PRODUCT, "search-place", "questions", lambda: bench.search("place")),
            Case(PRODUCT, "draw", "entities", bench.draw),
            Case(RAW, "draw", "entities", bench.raw_draw),
        ]


REGISTERS = Suite(
    name="registers",
    about="the register of entities at 100,000; limit: reading and hashing the same file",
    cases={
        "import": "entities from a CSV, each checked, indexed, audited and published; limit: reading and hashing it",
        "search-name": "two Chinese characters of a name, pages of 50, over HTTP; no limit",
        "search-code": "a unified social credit code; no limit",
        "search-place": "the entities of a township; no limit",
        "draw": "a double-random draw with its published file; limit: reading and hashing that file",
    },
    open=_open,
)
