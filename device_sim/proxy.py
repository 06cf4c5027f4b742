"""A TCP proxy that spoils connections: drops, cuts, delays and duplicates, from a seed, and counts what it did.

It knows nothing of HTTP beyond the end of a request's head. What it does to the n-th connection depends only on the
seed and n. Progress stays possible: at most `fault_rate` of the connections suffer (below 1), and after
`LONGEST_BAD_RUN` spoiled connections in a row the next one is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

BUFFER_BYTES = 64 * 1024
LONGEST_BAD_RUN = 4
MAX_CONNECTIONS = 512
"""Further connections are closed at once and counted as refused."""

MAX_REPLAY_BYTES = 8 * 1024 * 1024 + 64 * 1024
"""Longest request that is kept for a replay: a whole pushed segment with its head."""

REPLAY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
STATS_INTERVAL_S = 0.5


class Fault(StrEnum):
    """What is done to one connection."""

    NONE = "none"
    DROP = "drop"
    CUT_REQUEST = "cut_request"
    CUT_REPLY = "cut_reply"
    DELAY = "delay"
    DUPLICATE = "duplicate"


_WEIGHTS = {Fault.DROP: 2, Fault.CUT_REQUEST: 3, Fault.CUT_REPLY: 3, Fault.DELAY: 2, Fault.DUPLICATE: 2}


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one connection: the fault, after how many bytes a cut comes, and how long a delay lasts."""

    fault: Fault
    after_bytes: int = 0
    delay_s: float = 0.0


@dataclass(slots=True)
class Planner:
    """Draws the plan of each connection from a seed; `fault_rate` is in [0, 0.9]."""

    seed: str
    fault_rate: float = 0.3
    longest_cut_bytes: int = 200_000
    longest_delay_s: float = 0.2
    _count: int = 0
    _bad_run: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fault_rate <= 0.9:
            raise ValueError("fault_rate must be between 0 and 0.9, or nothing would ever get through")

    def next(self) -> Plan:
        """The plan of the next connection."""
        rng = random.Random(f"{self.seed}:{self._count}")
        self._count += 1
        if self._bad_run >= LONGEST_BAD_RUN or rng.random() >= self.fault_rate:
            self._bad_run = 0
            return Plan(Fault.NONE)
        self._bad_run += 1
        fault = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        # Small numbers are as likely as large ones: cuts inside a request's head matter as much as inside a photo.
        after_bytes = int(self.longest_cut_bytes ** rng.random())
        return Plan(fault, after_bytes, rng.random() * self.longest_delay_s)


class _Cut(Exception):
    """The planned number of bytes has passed."""


@dataclass(slots=True)
class FaultProxy:
    """The proxy itself: listens on 127.0.0.1 and passes connections on to `upstream_port` there."""

    upstream_port: int
    planner: Planner
    counts: Counter[str] = field(default_factory=Counter)
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self, port: int = 0) -> asyncio.Server:
        """Listen on `port` (0: any free one); the server's socket tells which."""
        return await asyncio.start_server(self._serve, "127.0.0.1", port, limit=BUFFER_BYTES)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a connection is always served by a task
            return
        self._open.add(task)
        try:
            if len(self._open) > MAX_CONNECTIONS:
                self.counts["refused"] += 1
                return
            await self._handle(reader, writer)
        except OSError:  # TimeoutError is one too
            self.counts["broken"] += 1
        except asyncio.CancelledError:
            self.counts["closed_at_exit"] += 1
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plan = self.planner.next()
        self.counts["connections"] += 1
        self.counts[plan.fault.value] += 1
        if plan.fault is Fault.DROP:
            return
        if plan.fault is Fault.DELAY:
            await asyncio.sleep(plan.delay_s)
        up_reader, up_writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.upstream_port, limit=BUFFER_BYTES), CONNECT_TIMEOUT_S
        )
        keep = bytearray() if plan.fault is Fault.DUPLICATE else None
        try:
            await _both_ways(
                _copy(reader, up_writer, self._meter("up", plan, Fault.CUT_REQUEST), keep),
                _copy(up_reader, writer, self._meter("down", plan, Fault.CUT_REPLY), None),
            )
            await _close(writer)
        except* _Cut:
            self.counts["cuts_done"] += 1
        except* OSError:
            self.counts["broken"] += 1
        finally:
            up_writer.transport.abort()
        if keep is not None and 0 < len(keep) <= MAX_REPLAY_BYTES:
            await self._replay(bytes(keep))

    def _meter(self, direction: str, plan: Plan, cut: Fault) -> Callable[[int], int]:
        """Counts bytes of one direction; returns how many of a chunk may pass, and raises once the cut is reached."""
        passed = 0

        def allow(size: int) -> int:
            nonlocal passed
            if plan.fault is not cut:
                self.counts[f"bytes_{direction}"] += size
                return size
            if passed >= plan.after_bytes:
                raise _Cut
            allowed = min(size, plan.after_bytes - passed)
            passed += allowed
            self.counts[f"bytes_{direction}"] += allowed
            return allowed

        return allow

    async def _replay(self, request: bytes) -> None:
        """Send the same bytes once more on a connection of its own and read the answer away, as a stray retry would."""
        up_reader, up_writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.upstream_port), CONNECT_TIMEOUT_S
        )
        try:
            up_writer.write(request)
            up_writer.write_eof()
            async with asyncio.timeout(REPLAY_TIMEOUT_S):
                await up_writer.drain()
                while await up_reader.read(BUFFER_BYTES):
                    pass
            self.counts["replayed"] += 1
        finally:
            up_writer.transport.abort()

    async def drain(self) -> None:
        """End all open connections and wait for them."""
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def stats(self) -> dict[str, int | str | float]:
        """What was done so far, ready for JSON."""
        return {"seed": self.planner.seed, "fault_rate": self.planner.fault_rate, **sorted_counts(self.counts)}


def sorted_counts(counts: Counter[str]) -> dict[str, int | str | float]:
    """The counts by name."""
    return {name: counts[name] for name in sorted(counts)}


async def _both_ways(up: Coroutine[None, None, None], down: Coroutine[None, None, None]) -> None:
    """Run both directions; the first cut or fault ends both, and a reply that ended ends the request's direction."""
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(up)
        receiving = group.create_task(down)
        receiving.add_done_callback(lambda _: sending.cancel())


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, allow: Callable[[int], int], keep: bytearray | None
) -> None:
    """Copy until the end of the stream, then pass the end on; `keep` collects what was sent, up to its limit."""
    while chunk := await reader.read(BUFFER_BYTES):
        allowed = allow(len(chunk))
        writer.write(chunk[:allowed])
        await writer.drain()
        if keep is not None and len(keep) <= MAX_REPLAY_BYTES:
            keep += chunk
        if allowed < len(chunk):
            raise _Cut
    if writer.can_write_eof():
        writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close after what is in the buffer has gone out; a cut connection is aborted instead, as on a broken link."""
    writer.close()
    await writer.wait_closed()


async def _write_stats(proxy: FaultProxy, path: Path) -> None:
    while True:
        write_stats(proxy, path)
        await asyncio.sleep(STATS_INTERVAL_S)


def write_stats(proxy: FaultProxy, path: Path) -> None:
    """Write the counts as JSON; readers see the old file or the new one, never half of it."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(proxy.stats()) + "\n", encoding="utf-8")
    partial.replace(path)


async def run_proxy(proxy: FaultProxy, port: int, stats_file: Path | None, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is told the port once connections are accepted."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await proxy.start(port)
    writing = asyncio.create_task(_write_stats(proxy, stats_file)) if stats_file else None
    ready(server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()
    await proxy.drain()
    if writing:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
    if stats_file:
        write_stats(proxy, stats_file)
