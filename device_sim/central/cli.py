"""The commands under `fieldproof central`: the central system as its own program."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
import httpx

from device_sim.central.link import CentralLink
from device_sim.central.proving import NotTrusted
from device_sim.central.puller import Puller
from device_sim.central.store import CentralStore, StoreInUse
from device_sim.central.witness import Witness
from device_sim.handheld.link import Refused, Unreachable
from sync.checkpoints import CheckpointError, VerifierKey, parse_verifier_key

PASSWORD_VARIABLE = "FIELDPROOF_CENTRAL_PASSWORD"  # noqa: S105 - the name of a variable
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
POLL_S = 0.3
"""Pause between looks while nothing is new."""

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def central() -> None:
    """国家平台：拉取监管行为并离线核验。The central system: pulls behaviors and proves them offline."""


@central.command()
@click.option("--url", required=True, help="平台地址 Address of the platform.")
@click.option("--login", default="central", show_default=True, help="账号 Login of the central account.")
@click.option(
    "--password-file", type=FILE, help=f"口令文件；缺省读环境变量 File with the password; else {PASSWORD_VARIABLE}."
)
@click.option("--password", envvar=PASSWORD_VARIABLE, hidden=True)
@click.option("--store", type=FILE, required=True, help="自有数据库 Own SQLite database; continued if it exists.")
@click.option(
    "--public-key", type=FILE, required=True, help="日志公钥 The log's public key (one line), received on another way."
)
@click.option("--until-file", type=FILE, help="持续拉取直至该文件出现 Go on until this file exists; else pull once.")
@click.option("--witness-key", type=FILE, help="见证密钥；签署已核验的树头 Sign each checked head; made if missing.")
@click.option("--json", "json_file", type=FILE, help="结果写入文件 Write the result here too.")
def pull(
    *,
    url: str,
    login: str,
    password_file: Path | None,
    password: str | None,
    store: Path,
    public_key: Path,
    until_file: Path | None,
    witness_key: Path | None,
    json_file: Path | None,
) -> None:
    """拉取并核验。Pull all behaviors, verify every proof, compare digests; ends with 1 when anything is amiss."""
    secret = password_file.read_text("utf-8").strip() if password_file else password
    if not secret:
        raise click.UsageError(f"--password-file or {PASSWORD_VARIABLE} is needed")
    try:
        kept = CentralStore(store)
    except StoreInUse as error:
        raise click.ClickException(str(error)) from error
    with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
        witness = Witness.load(witness_key, f"fieldproof/witness/{login}") if witness_key else None
        puller = Puller(CentralLink(client, login, secret), kept, lambda: read_key(public_key), witness)
        try:
            if until_file is None:
                puller.pull_once(_tell)
            else:
                puller.pull_until(until_file.exists, lambda: time.sleep(POLL_S), _tell)
            result = puller.result()
        except NotTrusted as error:
            result = puller.distrusted(error)
        except (Refused, Unreachable) as error:
            raise click.ClickException(str(error)) from error
        finally:
            kept.close()
    text = json.dumps(result.as_dict(), ensure_ascii=False)
    if json_file is not None:
        json_file.write_text(text + "\n", "utf-8")
    click.echo(text)
    if not result.ok:
        sys.exit(1)


def _tell(lines: int) -> None:
    click.echo(f"+{lines} 监管行为 behaviors", err=True)


def read_key(path: Path) -> VerifierKey:
    """Read the trusted public key.

    Raises:
        ClickException: there is no such file, or it holds no key.
    """
    try:
        return parse_verifier_key(path.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError, CheckpointError) as error:
        raise click.ClickException(f"{path}: {error}") from error
