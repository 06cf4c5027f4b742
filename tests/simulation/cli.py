"""`fieldproof simulate`: run seeds of the deterministic simulation and print what failed."""

import gc
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing import get_context

import click

from tests.simulation.run import DEFAULT_STEPS, Outcome, run_seed

MAX_SEEDS = 1_000_000
MAX_STEPS = 10_000
PROGRESS_EVERY = 25


def _range_of(_context: click.Context, _parameter: click.Parameter, text: str) -> range:
    first, separator, last = text.partition("..")
    if not first.isdecimal() or (separator and not last.isdecimal()):
        raise click.BadParameter("write one number, or A..B")
    found = range(int(first), int(last or first) + 1)
    if not 0 < len(found) <= MAX_SEEDS:
        raise click.BadParameter(f"from 1 to {MAX_SEEDS} seeds")
    return found


@click.command()
@click.option("--seeds", callback=_range_of, default="1..100", show_default=True, help="One seed, or A..B.")
@click.option("--steps", type=click.IntRange(1, MAX_STEPS), default=DEFAULT_STEPS, show_default=True)
@click.option("--jobs", type=click.IntRange(1, 2), default=1, show_default=True, help="Processes.")
@click.option("--log", is_flag=True, help="Print the steps of every seed, not only of failing ones.")
def simulate(seeds: range, steps: int, jobs: int, *, log: bool) -> None:
    """模拟整个同步系统 / Simulate handhelds, network, server and office; one seed decides everything."""
    gc.set_threshold(50_000, 20, 100)
    started = time.monotonic()
    failed: list[int] = []
    for number, outcome in enumerate(_outcomes(seeds, steps, jobs), start=1):
        if log or outcome.failure:
            click.echo("\n".join((f"seed {outcome.seed}:", *outcome.log, outcome.digest)))
        if outcome.failure:
            failed.append(outcome.seed)
            click.echo(f"种子失败 / seed {outcome.seed} failed: {outcome.failure}")
            click.echo(f"重现 / reproduce: fieldproof simulate --seeds {outcome.seed} --steps {steps}")
        if number % PROGRESS_EVERY == 0:
            rate = number / (time.monotonic() - started)
            click.echo(f"{number}/{len(seeds)} seeds, {rate:.1f} seeds/s, {len(failed)} failed", err=True)
    rate = len(seeds) / (time.monotonic() - started)
    named = f": {', '.join(map(str, failed[:20]))}" if failed else ""
    click.echo(f"{len(seeds)} 个种子 seeds, {steps} 步 steps, {rate:.1f} seeds/s, {len(failed)} 失败 failed{named}")
    sys.exit(1 if failed else 0)


def _outcomes(seeds: Iterable[int], steps: int, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        for seed in seeds:
            yield run_seed(seed, steps)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_Run(steps), seeds, chunksize=4)


class _Run:
    """Runs a seed in another process."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, seed: int) -> Outcome:
        return run_seed(seed, self.steps)


if __name__ == "__main__":
    simulate()
