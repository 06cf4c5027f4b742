"""The fault proxy between real sockets: each fault does what it says, and is counted."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from device_sim import proxy as module
from device_sim.proxy import Fault, FaultProxy, Plan, Planner

REQUEST = b"x" * 5000
REPLY = b"y" * 7000


class Scripted(Planner):
    """A planner that plans what the test says."""

    def __init__(self, *plans: Plan) -> None:
        super().__init__("scripted", 0.0)
        self.plans = list(plans)

    def next(self) -> Plan:
        """The next scripted plan; then none."""
        return self.plans.pop(0) if self.plans else Plan(Fault.NONE)


async def upstream(received: list[bytes]) -> asyncio.Server:
    """A server that answers each request of known length and notes what came."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            received.append(await reader.readexactly(len(REQUEST)))
            writer.write(REPLY)
            await writer.drain()
        except asyncio.IncompleteReadError as cut:
            received.append(cut.partial)
        except OSError:
            received.append(b"broken")
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def exchange(port: int) -> bytes:
    """Send the request and read the answer to its end; what came before a reset counts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        writer.write(REQUEST)
        await writer.drain()
        while piece := await reader.read(65536):
            got += piece
    except OSError:
        pass
    finally:
        writer.transport.abort()
    return got


def port_of(server: asyncio.Server) -> int:
    """Where a server listens."""
    return int(server.sockets[0].getsockname()[1])


def run(
    plans: list[Plan], scenario: Callable[[int, FaultProxy, list[bytes]], Awaitable[None]], upstream_gone: bool = False
) -> FaultProxy:
    """Run a scenario against a proxy with these plans in front of the server; returns the proxy."""

    async def main() -> FaultProxy:
        received: list[bytes] = []
        server = await upstream(received)
        proxy = FaultProxy(port_of(server), Scripted(*plans))
        if upstream_gone:
            server.close()
            await server.wait_closed()
        front = await proxy.start()
        await scenario(port_of(front), proxy, received)
        front.close()
        await proxy.drain()
        server.close()
        return proxy

    return asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; the test's own time limit ends it otherwise."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is a count, not an event
            await asyncio.sleep(0.01)


def test_an_unspoiled_connection_passes_every_byte() -> None:
    """Request and reply come through whole, and bytes are counted in both directions."""

    async def scenario(port: int, _proxy: FaultProxy, received: list[bytes]) -> None:
        assert await exchange(port) == REPLY
        assert received == [REQUEST]

    proxy = run([], scenario)
    assert proxy.counts["bytes_up"] == len(REQUEST)
    assert proxy.counts["bytes_down"] == len(REPLY)
    assert proxy.counts["connections"] == proxy.counts["none"] == 1


def test_a_dropped_connection_reaches_nobody() -> None:
    """The client is cut off and the server hears nothing."""

    async def scenario(port: int, _proxy: FaultProxy, received: list[bytes]) -> None:
        assert await exchange(port) == b""
        assert received == []

    proxy = run([Plan(Fault.DROP)], scenario)
    assert proxy.stats() == {"seed": "scripted", "fault_rate": 0.0, "connections": 1, "drop": 1}


def test_a_cut_between_two_chunks_is_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the planned bytes end exactly with a chunk, the next one is not passed on."""
    monkeypatch.setattr(module, "BUFFER_BYTES", 1000)

    async def scenario(port: int, _proxy: FaultProxy, received: list[bytes]) -> None:
        assert await exchange(port) == b""
        await until(lambda: bool(received))

    proxy = run([Plan(Fault.CUT_REQUEST, after_bytes=2000)], scenario)
    assert (proxy.counts["cuts_done"], proxy.counts["bytes_up"]) == (1, 2000)


def test_a_cut_request_arrives_in_part() -> None:
    """Exactly the planned number of bytes goes up, then both sides lose the connection."""

    async def scenario(port: int, _proxy: FaultProxy, received: list[bytes]) -> None:
        assert await exchange(port) == b""
        await until(lambda: bool(received))

    proxy = run([Plan(Fault.CUT_REQUEST, after_bytes=1234)], scenario)
    assert proxy.counts["cuts_done"] == 1
    assert proxy.counts["bytes_up"] == 1234


def test_a_cut_reply_is_lost_after_the_server_did_its_work() -> None:
    """The server got everything; the client gets at most the planned bytes."""

    async def scenario(port: int, _proxy: FaultProxy, received: list[bytes]) -> None:
        assert len(await exchange(port)) <= 100
        assert received == [REQUEST]

    proxy = run([Plan(Fault.CUT_REPLY, after_bytes=100)], scenario)
    assert proxy.counts["cuts_done"] == 1
    assert proxy.counts["bytes_down"] == 100


def test_a_delayed_connection_still_comes_through() -> None:
    """A delay changes nothing but time."""

    async def scenario(port: int, _proxy: FaultProxy, received: list[bytes]) -> None:
        assert await exchange(port) == REPLY
        assert received == [REQUEST]

    assert run([Plan(Fault.DELAY, delay_s=0.01)], scenario).counts["delay"] == 1


def test_a_duplicated_request_reaches_the_server_twice() -> None:
    """The same bytes go up once more on a connection of their own; the client notices nothing."""

    async def scenario(port: int, proxy: FaultProxy, received: list[bytes]) -> None:
        assert await exchange(port) == REPLY
        await until(lambda: proxy.counts["replayed"] == 1)
        assert received == [REQUEST, REQUEST]

    run([Plan(Fault.DUPLICATE)], scenario)


def test_a_missing_server_is_counted_as_broken() -> None:
    """Without a server the client is cut off and the proxy goes on."""

    async def scenario(port: int, _proxy: FaultProxy, _received: list[bytes]) -> None:
        assert await exchange(port) == b""

    assert run([], scenario, upstream_gone=True).counts["broken"] == 1


def test_connections_past_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of open connections is bounded."""
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)

    async def scenario(port: int, proxy: FaultProxy, _received: list[bytes]) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: proxy.counts["connections"] == 1)
        assert await exchange(port) == b""
        writer.close()

    assert run([], scenario).counts["refused"] == 1


def test_open_connections_end_with_the_proxy() -> None:
    """Draining ends a connection that is still waiting for its request, and counts it."""

    async def scenario(port: int, proxy: FaultProxy, _received: list[bytes]) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: proxy.counts["connections"] == 1)
        await proxy.drain()
        writer.close()

    assert run([], scenario).counts["closed_at_exit"] == 1


def test_the_program_prints_its_port_and_its_counts(tmp_path: Path) -> None:
    """`device proxy` tells where it listens, keeps its counts in a file, and prints them when it is ended."""
    stats = tmp_path / "stats.json"
    command = "from device_sim.cli import device; device()"
    program = subprocess.Popen(
        [sys.executable, "-c", command, "proxy", "--upstream-port", "9", "--stats", str(stats), "--seed", "5"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert program.stdout is not None
    try:
        assert json.loads(program.stdout.readline())["listening"] > 0
        program.send_signal(signal.SIGTERM)
        printed, _ = program.communicate(timeout=30)
    finally:
        program.kill()
        program.stdout.close()
        program.wait()
    assert program.returncode == 0
    assert json.loads(printed) == json.loads(stats.read_text()) == {"seed": "5", "fault_rate": 0.3}
