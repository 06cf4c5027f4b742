"""Say at the end which tests were skipped and why, one line per reason, and let checks forbid skipping altogether.

A test that needs a program this machine lacks skips itself with a reason that names the missing package. That keeps the
suite useful on any machine, and makes it easy to overlook that half of it never ran: so the reasons come last, and with
`FIELDPROOF_FORBID_SKIPS=1` in the environment a session with a skipped test fails, unless the reason begins with
`not permitted`: what the operating system does not let us do, no installed package mends.
"""

import os
from collections import defaultdict

import pytest

FORBID_VARIABLE = "FIELDPROOF_FORBID_SKIPS"
NOT_PERMITTED = "not permitted"


def skips_forbidden() -> bool:
    """Whether the environment asks for a session without skipped tests."""
    return os.environ.get(FORBID_VARIABLE, "") not in ("", "0")


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The words a skipped test gave, on one line."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return " ".join(text.removeprefix("Skipped: ").split())


def tests_by_reason(config: pytest.Config) -> dict[str, list[str]]:
    """Node ids of what was skipped, by reason; workers that skipped the same module count once."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped: dict[str, set[str]] = defaultdict(set)
    for report in reporter.stats.get("skipped", []) if reporter else []:
        skipped[reason_of(report)].add(report.nodeid)
    return {reason: sorted(skipped[reason]) for reason in sorted(skipped)}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that passed but left tests out, where that is forbidden."""
    mendable = [reason for reason in tests_by_reason(session.config) if not reason.startswith(NOT_PERMITTED)]
    if skips_forbidden() and session.exitstatus == pytest.ExitCode.OK and mendable:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print one line per reason, below everything else."""
    skipped = tests_by_reason(config)
    if not skipped:
        return
    verdict = f"forbidden here ({FORBID_VARIABLE})" if skips_forbidden() else "not run on this machine"
    terminalreporter.section(f"skipped: {verdict}", red=skips_forbidden(), yellow=not skips_forbidden())
    for reason, tests in skipped.items():
        more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        terminalreporter.line(f"{reason}  [{tests[0]}{more}]")
