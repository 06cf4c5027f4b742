"""The light client and its crew, against a server of a few lines."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from device_sim.bench.frame import BenchFailed
from device_sim.bench.light_client import LightClient, run_crew


class Echo(BaseHTTPRequestHandler):
    """Sends back what it got; refuses `/no`; closes the connection after `/bye`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(422 if self.path == "/no" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Seen", self.headers.get("Authorization", ""))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path == "/bye"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """A running server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_request_and_answer(url: str) -> None:
    """Headers and bodies go and come as they are."""
    with LightClient(url, {"Authorization": "Bearer x"}) as client:
        answer = client.send("POST", "/", b"body")
    assert (answer.status, answer.body, answer.headers["X-Seen"]) == (200, b"body", "Bearer x")


def test_a_closed_connection_is_opened_again(url: str) -> None:
    """A server may close a kept connection; the next request gets a new one."""
    with LightClient(url, {}) as client:
        client.send("POST", "/bye", b"1")
        assert client.send("POST", "/", b"2").body == b"2"


def test_a_refusal_is_named(url: str) -> None:
    """A status of 400 or more ends the benchmark with its text."""
    with LightClient(url, {}) as client, pytest.raises(BenchFailed, match="422 the reason"):
        client.send("POST", "/no", b"the reason")


def test_a_server_that_is_not_there() -> None:
    """An unreachable server ends the benchmark."""
    with LightClient("http://127.0.0.1:1", {}) as client, pytest.raises(BenchFailed, match="Refused"):
        client.send("GET", "/")


def test_crew_does_everything_and_counts_it() -> None:
    """Every piece of every queue is done once and has its latency."""
    done: list[int] = []
    result = run_crew([[lambda n=n: done.append(n) for n in range(3)], [lambda: done.append(9)]], 60.0)  # type: ignore[misc]
    assert sorted(done) == [0, 1, 2, 9]
    assert len(result.latencies_s) == 4
    assert result.seconds > 0
    assert result.client_cores >= 0


def test_crew_stops_when_the_time_is_up() -> None:
    """After the time nothing new is begun; each member has begun at least once."""
    done: list[int] = []
    result = run_crew([[lambda: done.append(1)] * 5, [lambda: done.append(2)] * 5], 0.0)
    assert sorted(done) == [1, 2]
    assert len(result.latencies_s) == 2


def test_a_failing_piece_fails_the_crew() -> None:
    """What a member raises reaches the caller."""

    def fail() -> None:
        raise BenchFailed("no")

    with pytest.raises(BenchFailed, match="no"):
        run_crew([[fail]], 1.0)
