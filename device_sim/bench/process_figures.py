"""Memory and processor time of programs and their children, from /proc (Linux)."""

from __future__ import annotations

import time
from pathlib import Path

PROC = Path("/proc")
KIB = 1024
MB = 1_000_000
PROCESS_CLOCK = 2
"""What the kernel calls the clock of the processor time a whole process has used, among the clocks of that process."""
RESET_PEAK = "5"
"""Written to clear_refs, it sets the peak back to what is resident now (proc(5))."""


def family(pid: int) -> list[int]:
    """Return a process and all its descendants; what has ended meanwhile is left out."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            parent = _parent_of(int(entry.name))
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid] if (PROC / str(pid)).exists() else []
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def peak_rss_mb(*pids: int) -> float:
    """Return the sum of the peaks of these processes and their descendants, in MB.

    Pages that several of them share count several times, and peaks need not have been at the same moment: the sum is
    never less than what they used together.
    """
    return sum(_status_kib(one, "VmHWM") for pid in pids for one in family(pid)) * KIB / MB


def proportional_mb(*pids: int) -> float:
    """Return what these processes and their descendants hold now, in MB, pages that they share counted once.

    0 where the system does not tell. A peak has passed by then, but Python gives little back: it is close to it.
    """
    found = 0
    for pid in pids:
        for one in family(pid):
            try:
                lines = (PROC / str(one) / "smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            found += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return found * KIB / MB


def reset_peak(*pids: int) -> None:
    """Let the peaks count from now; without effect where the system does not allow it."""
    for pid in pids:
        for one in family(pid):
            try:
                (PROC / str(one) / "clear_refs").write_text(RESET_PEAK)
            except OSError:
                continue


def cpu_s(*pids: int) -> float:
    """Return the processor seconds that these processes and their living descendants have used so far."""
    return sum(_used_s(one) for pid in pids for one in family(pid))


def _parent_of(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _used_s(pid: int) -> float:
    """Ask the process's own clock, as clock_getcpuclockid(3) names it: /proc counts in steps of 10 ms."""
    try:
        return time.clock_gettime(~pid << 3 | PROCESS_CLOCK)
    except OSError:
        return 0.0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the program's name, which may itself hold spaces and brackets."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _status_kib(pid: int, name: str) -> int:
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
