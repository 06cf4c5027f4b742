"""The command `fieldproof fuzz`."""

from importlib import import_module
from pathlib import Path

import click


@click.command()
@click.option("--runs", type=click.IntRange(1), default=100_000, show_default=True, help="Inputs to try.")
@click.option("--seed", type=click.IntRange(1), default=1, show_default=True, help="Where to begin; printed.")
@click.option("--corpus", type=click.Path(file_okay=False, path_type=Path), help="Folder that keeps what was found.")
def fuzz(*, runs: int, seed: int, corpus: Path | None) -> None:
    """寻找使遥测解码器出错的输入。Look for bytes that break a telemetry codec.

    Exits with 0 when nothing was found; otherwise the input is written to the working directory, and the status is 77.
    """
    click.echo(f"fuzz: {runs} inputs, seed {seed}")
    # importing it instruments the codecs, which no other command wants
    import_module("tests.fuzz.codecs").search(runs, seed, corpus)


if __name__ == "__main__":
    fuzz()
