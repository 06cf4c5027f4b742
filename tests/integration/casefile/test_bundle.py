"""Case bundles: complete, checkable offline, and whatever is changed is named."""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from server.casefile import collecting, verify_bundle
from server.casefile.writing import LISTS, export_case
from server.errors import Problem
from server.runtime import Runtime
from tests.integration.casefile.conftest import ClosedCase

Change = Callable[[dict[str, bytes]], None]
FLIPS = 400
"""Places at which a byte is flipped, spread over the whole bundle."""


def rows(files: dict[str, bytes], name: str) -> list[dict[str, object]]:
    """The rows of a list."""
    return [json.loads(line) for line in files[f"{name}.jsonl"].splitlines()]


def put(files: dict[str, bytes], name: str, changed: list[dict[str, object]]) -> None:
    """Write the rows of a list."""
    files[f"{name}.jsonl"] = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in changed)


def test_a_bundle_holds_everything_and_is_sound(case: ClosedCase) -> None:
    """Records with every act, journals, evidence, behavior, proofs and the record on paper; nothing is amiss."""
    bundle = case.export()
    assert case.faults(bundle) == []
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert {*files} == {
        "case.json", "proof-log.json", "record.pdf", f"evidence/{case.evidence}.jpg", *(f"{n}.jsonl" for n in LISTS)
    }  # fmt: skip
    assert files["record.pdf"].startswith(b"%PDF-")
    assert {row["kind"] for row in rows(files, "records")} == {"inspection", "evidence", "answer"}
    acts = rows(files, "acts")
    assert {row["office"] for row in acts} == {True, False}
    assert any("样例陈述" in str(row["personal"]) for row in acts)
    (evidence,) = rows(files, "evidence")
    assert json.loads(evidence["custody"][-1])["action"] == "export"  # type: ignore[index]
    assert len(rows(files, "behaviors")) == 1
    assert {leaf["kind"] for leaf in json.loads(files["proof-log.json"])["leaves"]} == {
        "behavior", "evidence", "journal-head"
    }  # fmt: skip


def test_the_script_stands_alone(case: ClosedCase, tmp_path: Path) -> None:
    """Run as a file, in an interpreter that cannot see the project, it finds a bundle sound and a wrong key wanting."""
    bundle = case.export()
    key = tmp_path / "log.pub"
    command = [sys.executable, "-I", str(Path(verify_bundle.__file__)), str(bundle), str(key)]
    key.write_text(case.verifier + "\n")
    sound = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (sound.returncode, sound.stdout.split(":")[0]) == (0, "sound")
    name, key_id, _ = case.verifier.split("+", 2)
    key.write_text(f"{name}+{key_id}+AQ{'A' * 42}==")
    wrong = subprocess.run(command, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "not signed by the given key" in wrong.stdout


def test_any_flipped_byte_is_found(case: ClosedCase, tmp_path: Path) -> None:
    """In headers, content, directory and signature: a single changed bit anywhere is named."""
    bundle = case.export()
    data, note = bundle.read_bytes(), Path(f"{bundle}.sig").read_bytes()
    changed = tmp_path / "changed.zip"
    signature = Path(f"{changed}.sig")
    signature.write_bytes(note)
    step = max(1, len(data) // FLIPS)
    for place in [*range(0, len(data), step), *range(len(data) - 60, len(data))]:
        changed.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        found = next(iter(verify_bundle.findings(changed, case.verifier)))
        assert found == "signature: the ZIP is not the one that was signed", place
    changed.write_bytes(data)
    key = tmp_path / "log.pub"
    key.write_text(case.verifier)
    for place in range(len(note)):
        signature.write_bytes(note[:place] + bytes([note[place] ^ 1]) + note[place + 1 :])
        assert verify_bundle.main(str(changed), str(key)) == 1, place


def _change_row(name: str, index: int, member: str, old: str, new: str) -> Change:
    def change(files: dict[str, bytes]) -> None:
        changed = rows(files, name)
        value = changed[index][member]
        if isinstance(value, list):
            changed[index][member] = [str(one).replace(old, new) for one in value]
        else:
            changed[index][member] = str(value).replace(old, new)
        assert changed != rows(files, name)
        put(files, name, changed)

    return change


def _of_act(text: str, member: str, new: str) -> Change:
    """Change the first act of a device that says something."""

    def change(files: dict[str, bytes]) -> None:
        changed = rows(files, "acts")
        row = next(row for row in changed if not row["office"] and text in str(row[member]))
        row[member] = str(row[member]).replace(text, new)
        put(files, "acts", changed)

    return change


def _drop_custody(files: dict[str, bytes]) -> None:
    (row,) = rows(files, "evidence")
    row["custody"] = row["custody"][:-1]  # type: ignore[index]
    put(files, "evidence", [row])


def _rewrite_custody(files: dict[str, bytes]) -> None:
    """Another upload, and every hash after it made anew, the head too."""
    (row,) = rows(files, "evidence")
    prev, made = "", []
    for entry in row["custody"]:  # type: ignore[attr-defined]
        members = json.loads(entry) | {"prev": prev}
        made.append(json.dumps(members).replace("device:", "device:x"))
        prev = hashlib.sha256(b"fieldproof-custody-v1\n" + made[-1].encode()).hexdigest()
    put(files, "evidence", [row | {"custody": made, "custody_head": prev}])


def _drop_header(files: dict[str, bytes]) -> None:
    changed = rows(files, "journals")
    del max(changed, key=lambda run: len(str(run["headers"])))["headers"][1]  # type: ignore[attr-defined]
    put(files, "journals", changed)


def _other_signature(files: dict[str, bytes]) -> None:
    changed = rows(files, "journals")
    changed[0]["signature"] = str(changed[0]["signature"]).swapcase()
    put(files, "journals", changed)


def _drop_leaf(files: dict[str, bytes]) -> None:
    log = json.loads(files["proof-log.json"])
    log["leaves"] = [leaf for leaf in log["leaves"] if leaf["kind"] != "behavior"]
    files["proof-log.json"] = json.dumps(log).encode()


def _other_path(files: dict[str, bytes]) -> None:
    log = json.loads(files["proof-log.json"])
    log["leaves"][0]["path"][0] = "00" * 32
    files["proof-log.json"] = json.dumps(log).encode()


def _other_head(files: dict[str, bytes]) -> None:
    log = json.loads(files["proof-log.json"])
    log["checkpoint"] = log["checkpoint"].replace("\nat ", "\nat 1")
    files["proof-log.json"] = json.dumps(log).encode()


def _other_photo(files: dict[str, bytes]) -> None:
    name = next(name for name in files if name.startswith("evidence/"))
    files[name] = files[name] + b"\x00"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_of_act("未发现问题", "body", "发现问题"), "its body is not what its header commits to"),
        (_of_act("样例陈述", "personal", "别的陈述"), "its personal is not what its header commits to"),
        (_of_act('"act":"', "receipt", '"act":"0'), "its receipt is for another act"),
        (_change_row("journals", 0, "headers", '"op":"put"', '"op":"del"'), "is not the next of its journal"),
        (_drop_header, "is not the next of its journal"),
        (_other_signature, "the device's signature does not verify"),
        (_change_row("evidence", 0, "sha256", "a", "b"), "no act declares it"),
        (_change_row("evidence", 0, "custody", "account:sample", "account:other"), "its chain of custody was changed"),
        (_drop_custody, "its chain of custody was changed or cut short"),
        (_rewrite_custody, "lacks the entry that the proof log names"),
        (_other_photo, "the file is not what was captured"),
        (_change_row("behaviors", 0, "content", "2026", "2025"), "its content is not what its leaf commits to"),
        (_drop_leaf, "is not in it"),
        (_other_path, "its proof does not verify"),
        (_other_head, "the tree head is not signed by the given key"),
    ],
)
def test_what_an_insider_changes_is_named(case: ClosedCase, change: Change, named: str) -> None:
    """Even with the platform's own signature made anew, devices' signatures, hashes and the log tell."""
    bundle = case.rewritten(case.export(), change)
    found = case.faults(bundle)
    assert any(named in one for one in found), found
    assert not any(one.startswith("signature") for one in found)


def test_a_bundle_without_change_survives_rewriting(case: ClosedCase) -> None:
    """The control of the test above: the same files packed anew are sound."""
    assert case.faults(case.rewritten(case.export(), lambda _: None)) == []


def test_added_removed_and_changed_files_are_named(case: ClosedCase, tmp_path: Path) -> None:
    """By the list of hashes, whatever the signature says."""
    bundle = case.export()
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            if name != "record.pdf":
                target.writestr(name, source.read(name) + (b"\n" if name == "proof-log.json" else b""))
        target.writestr("extra.txt", b"")
    Path(f"{changed}.sig").write_bytes(Path(f"{bundle}.sig").read_bytes())
    found = case.faults(changed)
    for name in ("extra.txt", "record.pdf", "proof-log.json"):
        assert f"file {name}: is missing, was added, or was changed" in found


def test_what_is_no_bundle_is_said(case: ClosedCase, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No ZIP, no signature, no key: one line and exit code 1, never a traceback."""
    key, broken = tmp_path / "log.pub", tmp_path / "broken.zip"
    key.write_text(case.verifier)
    broken.write_bytes(b"no zip")
    assert verify_bundle.main(str(broken), str(key)) == 1
    Path(f"{broken}.sig").write_bytes(Path(f"{case.export()}.sig").read_bytes())
    assert verify_bundle.main(str(broken), str(key)) == 1
    assert verify_bundle.main(str(tmp_path / "case.zip"), str(tmp_path / "none.pub")) == 1
    said = capsys.readouterr().out
    assert "Traceback" not in said
    assert said.count("not readable") == 3


def test_no_evidence_is_left_out(case: ClosedCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case past the limit is refused whole, never cut."""
    monkeypatch.setattr(collecting, "MAX_EVIDENCE", 0)
    with pytest.raises(Problem) as refused:
        case.export()
    assert (refused.value.code, refused.value.limit) == ("limit-exceeded", 0)


def test_an_unknown_case_is_refused(case: ClosedCase, rt: Runtime, tmp_path: Path) -> None:
    """By name, and no file is left behind."""
    with pytest.raises(Problem) as refused:
        export_case(rt, "0190a0b0-0000-7000-8000-00000000ffff", tmp_path / "none.zip", actor="account:sample")
    assert refused.value.field == "case"
    assert list(tmp_path.glob("*none.zip*")) == []
