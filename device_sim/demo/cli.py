"""The command `fieldproof demo`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click
import httpx
from rich.console import Console

from device_sim.broker import BrokerFailed, BrokerMissing
from device_sim.demo.checks import InvariantBroken
from device_sim.demo.home import prepare_home
from device_sim.demo.office import OfficeFault
from device_sim.demo.programs import ProgramFailed
from device_sim.demo.run import Options, Run
from device_sim.demo.show import Stage
from device_sim.demo.story import STORY
from device_sim.demo.summary import summary
from device_sim.demo.world import MIN_DEVICES, make_world
from device_sim.sample.mapping import map_world
from device_sim.sample.sources import DataFolderMissing, open_data

DEFAULT_READINGS = 12_000
WATCH_S = 1.0


@click.command()
@click.option("--once", is_flag=True, help="不保留页面，结束即退出 Stop at the end instead of leaving the pages up.")
@click.option(
    "--seed",
    default=7,
    show_default=True,
    type=click.IntRange(0),
    help="种子：同一种子得到同样的数目 Same seed, same counts.",
)
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path),
    help="真实数据目录，缺的部分用自带样例 Folder with real data; what it lacks comes from the shipped sample.",
)  # fmt: skip
@click.option(
    "--devices", default=8, show_default=True, type=click.IntRange(MIN_DEVICES, 500), help="终端数 Handhelds."
)
@click.option(
    "--inspections", default=60, show_default=True, type=click.IntRange(1, 20_000), help="计划检查数 Inspections."
)
@click.option(
    "--readings", default=DEFAULT_READINGS, show_default=True, type=click.IntRange(0),
    help="约多少条读数，0 为全部 About how many readings; 0: all.",
)  # fmt: skip
@click.option("--fault-rate", default=0.3, show_default=True, type=click.FloatRange(0, 0.9), help="故障率 Bad links.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="服务端口，0 为任意 Server port; 0: any.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="结果写入 Figures as JSON.")
def demo(
    *,
    once: bool,
    seed: int,
    data: Path | None,
    devices: int,
    inspections: int,
    readings: int,
    fault_rate: float,
    port: int,
    json_file: Path | None,
) -> None:
    """完整演示：传感器、离线检查、弱网同步、国家汇聚。The whole story with real programs, checked as it goes.

    Data goes to FIELDPROOF_HOME (default ./var). Exits with 1 as soon as an invariant is broken.
    """
    console = Console()
    home = Path(os.environ.get("FIELDPROOF_HOME", "var")).resolve()
    options = Options(str(seed), devices, inspections, readings, data.resolve() if data else None, fault_rate)
    stage = Stage(console)
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        run = _prepared(options, home, stage)
    except (DataFolderMissing, InvariantBroken, BrokerMissing, LookupError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if port:
        run.port = port
    run.figures |= {"seed": seed, "home": str(home), "ok": False}
    with run.cast():
        try:
            with stage.live():
                _play(run, stage)
        except (InvariantBroken, ProgramFailed, OfficeFault, BrokerFailed, httpx.HTTPError) as error:
            run.figures |= {"seconds": round(time.monotonic() - started, 1), "broken": str(error)}
            _write(json_file, run)
            raise click.ClickException(f"不变式被打破 An invariant is broken: {error}") from error
        run.figures |= {"seconds": round(time.monotonic() - started, 1), "ok": True}
        _write(json_file, run)
        console.print(summary(run.figures))
        if not once:
            _stay(run, console)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Let SIGTERM end the run like Ctrl-C, so that no program is left behind."""
    raise KeyboardInterrupt


def _prepared(options: Options, home: Path, stage: Stage) -> Run:
    prepare_home(home)
    source = open_data(options.data)
    mapped = map_world(source.businesses, source.stations, source.divisions)
    world = make_world(source, mapped, seed=options.seed, devices=options.devices, inspections=options.inspections)
    if not world.inspections:
        raise InvariantBroken("the data holds no inspection that could be carried out")
    if len(world.inspections) < options.inspections:
        few = len(world.inspections)
        stage.console.print(f"数据只有 {few} 次检查 The data holds {few} inspections; all of them are carried out.")
    return Run(world, options, home, stage.report)


def _play(run: Run, stage: Stage) -> None:
    """Play all chapters."""
    for chapter in STORY:
        stage.begin(chapter)
        chapter.play(run)
        stage.end()


def _write(path: Path | None, run: Run) -> None:
    if path is not None:
        path.write_text(json.dumps(run.figures, ensure_ascii=False, indent=2) + "\n", "utf-8")


def _stay(run: Run, console: Console) -> None:
    """Leave everything running until Ctrl-C."""
    console.print(f"\n打开页面 Open: [bold underline]{run.sign_in_address()}[/]  (一次有效 works once, 15 min)")
    console.print(
        f"之后用账号 then sign in as [bold]operator[/], 口令 password [bold]{run.world.passwords['operator']}[/]"
    )
    console.print("按 Ctrl-C 结束 Press Ctrl-C to stop.", style="dim")
    sys.stdout.flush()
    try:
        while True:
            run.programs.check()
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        console.print("正在结束 Stopping …", style="dim")
