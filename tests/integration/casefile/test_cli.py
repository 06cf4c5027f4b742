"""The commands `fieldproof export` and `fieldproof verify BUNDLE`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import main
from server.prooflog.keys import PUBLIC_FILE
from tests.integration.casefile.conftest import ClosedCase


def run(case: ClosedCase, *arguments: str) -> tuple[int, str]:
    """Exit code and everything said."""
    environment = {"FIELDPROOF_HOME": str(case.rt.settings.home), "FIELDPROOF_DATABASE_URL": case.rt.db.url}
    ended = CliRunner(env=environment).invoke(main, arguments)
    return ended.exit_code, ended.output


def test_export_and_verify(case: ClosedCase, tmp_path: Path) -> None:
    """Exported, a case verifies with the installation's key and with the same key from a file; damaged, it does not."""
    bundle = tmp_path / "out.zip"
    code, said = run(case, "export", case.world.inspection, "--out", str(bundle), "--by", "account:sample")
    assert code == 0, said
    assert f"{bundle}.sig" in said
    key = tmp_path / "kept.pub"
    key.write_bytes((case.rt.settings.keys_dir / PUBLIC_FILE).read_bytes())
    for arguments in ((str(bundle),), (str(bundle), "--key", str(key))):
        code, said = run(case, "verify", *arguments)
        assert (code, said.split(":")[0]) == (0, "sound")
    bundle.write_bytes(bundle.read_bytes()[:-1])
    code, said = run(case, "verify", str(bundle))
    assert code == 1
    assert "not the one that was signed" in said


def test_bundle_outlives_the_key_that_signed_it(case: ClosedCase, tmp_path: Path) -> None:
    """Written before a rotation, it verifies with all keys of the installation, but not with the new key alone."""
    bundle = tmp_path / "out.zip"
    assert run(case, "export", case.world.inspection, "--out", str(bundle))[0] == 0
    assert run(case, "rotate-secret", "proof-log")[0] == 0
    assert run(case, "verify", str(bundle))[0] == 0
    code, said = run(case, "verify", str(bundle), "--key", str(case.rt.settings.keys_dir / PUBLIC_FILE))
    assert (code, said.splitlines()[0]) == (1, "signature: BUNDLE.sig is not signed by the given key")
    assert run(case, "export", case.world.inspection, "--out", str(bundle))[0] == 0
    assert run(case, "verify", str(bundle))[0] == 0


@pytest.mark.parametrize("name", ["0190a0b0-0000-7000-8000-00000000ffff", "../secrets"])
def test_an_unknown_case_is_one_line(case: ClosedCase, tmp_path: Path, name: str) -> None:
    """No traceback, no file."""
    code, said = run(case, "export", name, "--out", str(tmp_path / "out.zip"))
    assert code == 1
    assert said.startswith("Error: ")
    assert list(tmp_path.glob("*out.zip*")) == []
