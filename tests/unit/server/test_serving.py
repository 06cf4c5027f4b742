"""gunicorn takes the options it is given, hooks included: it checks them only when it is set up."""

import gc
from pathlib import Path
from types import SimpleNamespace

from server.config import load_settings
from server.serving import THREADS, Server


def test_gunicorn_takes_every_option(tmp_path: Path) -> None:
    """The server can be set up, and what workers share is set aside before they are forked."""
    server = Server(load_settings({"FIELDPROOF_HOME": str(tmp_path)}), "127.0.0.1:0", 2)
    assert server.cfg.threads == THREADS
    try:
        server.cfg.pre_fork(SimpleNamespace(WORKERS={}), SimpleNamespace())
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
