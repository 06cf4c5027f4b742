"""Memory and processor time of a real process and its child."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from device_sim.bench.process_figures import cpu_s, family, peak_rss_mb, reset_peak

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """A process and its child; both end when standard input does."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    yield process.pid, child
    process.communicate("\n")


def test_family_holds_the_children(pair: tuple[int, int]) -> None:
    """A process comes with its descendants, and with nobody else."""
    assert set(family(pair[0])) == set(pair)
    assert family(pair[1]) == [pair[1]]


def test_memory_of_a_family(pair: tuple[int, int]) -> None:
    """The peak of a family is the sum over its members; several families add up."""
    parent, child = pair
    assert 1 < peak_rss_mb(child) < peak_rss_mb(parent)
    assert peak_rss_mb(parent, os.getpid()) > peak_rss_mb(os.getpid())


def test_peak_can_start_anew() -> None:
    """After a reset the peak is what is resident now, no longer what once was: seen in a process of its own."""
    program = """
import os
from device_sim.bench.process_figures import peak_rss_mb, reset_peak
ballast = bytearray(b"x" * 80_000_000)
before = peak_rss_mb(os.getpid())
del ballast
reset_peak(os.getpid())
print(before - peak_rss_mb(os.getpid()))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(ended.stdout) > 40


def test_processor_time_rises() -> None:
    """Work costs processor time."""
    before = cpu_s(os.getpid())
    while cpu_s(os.getpid()) == before:
        sum(range(100_000))
    assert cpu_s(os.getpid()) > before


def test_a_process_that_is_gone() -> None:
    """What has ended has no family, no memory and no time, and nothing is raised."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert family(process.pid) == []
    assert (peak_rss_mb(process.pid), cpu_s(process.pid)) == (0, 0)
    reset_peak(process.pid)
