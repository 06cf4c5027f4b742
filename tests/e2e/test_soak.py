"""The soak, small: real programs, real kills, and a fault that it must notice."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from device_sim.sensors import link
from device_sim.soak import run as soak_run
from device_sim.soak.cli import soak_command
from device_sim.soak.run import Outcome, SoakFailed, SoakPlan, soak

pytestmark = pytest.mark.slow


def test_everything_is_stored_once_under_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ingester and broker are killed while sensors lose, repeat and shuffle messages and lose their power."""
    monkeypatch.setattr(link, "RESEND_S", 0.5)
    arguments = ["--readings", "1500", "--sensors", "2", "--kills", "2", "--seed", "11"]
    result = CliRunner().invoke(soak_command, arguments)
    assert result.exit_code == 0, result.output
    assert "2 kills" in result.output
    assert "stored = published, duplicates 0, leads equal" in result.output


@pytest.mark.parametrize(
    ("change", "said"),
    [({"stored": 9}, "10 published, 9"), ({"leads": (("other",),)}, "leads"), ({"valid": 7}, "readings")],
)
def test_a_difference_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], said: str
) -> None:
    """A lost reading, another lead, another judgement: the soak fails, says what, and names its seed."""
    sound: dict[str, object] = {
        "published": 10, "stored": 10, "valid": 8, "dead_lettered": 0, "leads": (("one",),), "kills": (),
        "seconds": 1.0,
    }  # fmt: skip
    outcomes = [Outcome(**sound), Outcome(**(sound | change))]  # type: ignore[arg-type]
    monkeypatch.setattr(soak_run, "_run", lambda *_args, **_more: outcomes.pop(0))
    with pytest.raises(SoakFailed, match=rf"{said}.*\(seed 7\)"):
        soak(SoakPlan(), tmp_path, lambda _line: None)
