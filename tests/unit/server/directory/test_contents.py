"""Contents of the directory: what is written alike, what is refused, what changed; reading and writing files."""

import json
from typing import Any

import pytest

from schemas.identifiers import make_uscc
from server.directory.contents import CHECKLISTS, ITEMS, check_content, differences, tidy
from server.directory.importing import export_directory, read_entries
from server.directory.models import DirectoryVersion
from server.errors import Problem
from server.registers.tables import CSV, JSON

CODE = make_uscc("11", "420000", "FX000001") + "1001"
ITEM = {"name": "甲", "item_type": "penalty", "basis": "法", "department": "部", "level": "city"}
LINE = {"number": "1", "text": "问", "basis": "法"}


def checklist(*lines: dict[str, Any]) -> dict[str, Any]:
    """A checklist of these lines."""
    return {"name": "单", "item": "42000000000001", "sub_items": list(lines)}


def test_what_means_the_same_is_written_the_same() -> None:
    """Spaces around texts and empty members make no other version."""
    loose = {"name": " 甲 ", "sector": "", "more": None, "list": [], "lines": [{"a": " b"}]}
    assert tidy(loose) == {"name": "甲", "lines": [{"a": "b"}]}
    assert check_content(ITEMS, "42000000000001", ITEM | {"name": "甲 ", "sector": " "}) == ITEM


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ((), "sub_items"),
        ((LINE, LINE), "sub_items.1.number"),
        ((LINE | {"basis": ""},), "sub_items.0.basis"),
        ((LINE | {"evidence": ["smell"]},), "sub_items.0.evidence.0"),
        ((LINE | {"asked_when": {"number": "1", "outcome": "fail"}},), "sub_items.0.asked_when"),
        (
            (LINE | {"outcomes": ["pass"]}, LINE | {"number": "2", "asked_when": {"number": "1", "outcome": "fail"}}),
            "sub_items.1.asked_when",
        ),
    ],
    ids=("none", "twice", "no-basis", "evidence", "itself", "impossible"),
)
def test_wrong_lines_are_refused_by_their_path(lines: tuple[dict[str, Any], ...], field: str) -> None:
    """The path says which line and what of it."""
    with pytest.raises(Problem) as caught:
        check_content(CHECKLISTS, CODE, checklist(*lines))
    assert caught.value.field == field


def test_differences_are_told_by_number() -> None:
    """A line that moves is the same line; what is gone or new is told with what it said."""
    second = LINE | {"number": "2", "evidence": ["photo"]}
    changes = differences(checklist(LINE, second), checklist(second | {"evidence": ["photo", "video"]}, LINE))
    assert [(one["path"], one["before"], one["after"]) for one in changes] == [
        ("sub_items.2.evidence", ["photo"], ["photo", "video"]),
        ("sub_items.order", ["1", "2"], ["2", "1"]),
    ]
    assert differences(ITEM, ITEM) == []
    assert [one["text"] for one in differences({}, {"name": "甲"})] == ["名称 / name: （无 none） → “甲”"]


@pytest.mark.parametrize("media_type", [JSON, CSV])
@pytest.mark.parametrize("register", [ITEMS, CHECKLISTS])
def test_files_are_read_as_they_were_written(register: str, media_type: str) -> None:
    """Commas, quotes, line breaks, lists and conditions survive; the bytes are the same again."""
    odd = LINE | {"text": '甲,"乙"\n丙|丁', "outcomes": ["pass", "fail"], "evidence": ["video", "photo"]}
    asked = LINE | {"number": "2=x", "asked_when": {"number": "1", "outcome": "fail"}}
    content = ITEM if register == ITEMS else checklist(odd, asked)
    code = "42000000000001" if register == ITEMS else CODE
    row = DirectoryVersion(code=code, content=content, state="published")
    data = export_directory(register, [row], media_type)
    read = read_entries(register, data, media_type)
    assert [(one.row, one.code, check_content(register, one.code, one.content)) for one in read] == [(1, code, content)]
    again = DirectoryVersion(code=code, content=tidy(read[0].content), state="published")
    assert export_directory(register, [again], media_type) == data


@pytest.mark.parametrize(
    ("data", "media_type", "code"),
    [
        (b"\xff", CSV, "bad-request"), (b"code,name\n", CSV, "invalid-field"), (b"{}", JSON, "bad-request"),
        (b"[1]", JSON, "bad-request"), (b"[", JSON, "malformed-json"), (b"[]", "text/plain", "unsupported-media-type"),
        (json.dumps([{}] * 20_001).encode(), JSON, "limit-exceeded"),
    ],
    ids=("bytes", "columns", "object", "number", "json", "type", "rows"),
)  # fmt: skip
def test_files_that_cannot_be_read(data: bytes, media_type: str, code: str) -> None:
    """Such a file is refused as a whole."""
    with pytest.raises(Problem) as caught:
        read_entries(ITEMS, data, media_type)
    assert caught.value.code == code
