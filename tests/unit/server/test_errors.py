"""The table of problems, and the RFC 9457 object each becomes."""

import json
import re
from pathlib import Path

import pytest

from server.errors import PROBLEMS, Problem
from server.web.problems import CODES_BY_STATUS
from tests.project_tree import ROOT, python_files


def test_the_table_is_in_order() -> None:
    """A row is found, and a double one noticed."""
    assert list(PROBLEMS) == sorted(PROBLEMS)


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_row_is_complete(code: str) -> None:
    """An error status, a title in both languages, and a code that fits into an URN."""
    kind = PROBLEMS[code]
    assert 400 <= kind.status < 600
    assert re.search("[一-鿿]", kind.title_zh)
    assert kind.title_en.isascii()
    assert re.fullmatch("[a-z]+(-[a-z]+)*", code)


def test_every_row_is_used() -> None:
    """A problem nobody raises is a promise nobody keeps."""
    sources = "".join(Path(ROOT, path).read_text(encoding="utf-8") for path in python_files("server", "iot_ingest"))
    table = Path(ROOT, "server/errors.py").read_text(encoding="utf-8")
    unused = {code for code in PROBLEMS if sources.count(f'"{code}"') <= table.count(f'"{code}"')}
    assert unused == set()


def test_statuses_translate_to_rows_of_the_same_status() -> None:
    """What the framework raises becomes a problem without changing its status."""
    assert {status: PROBLEMS[code].status for status, code in CODES_BY_STATUS.items()} == {
        status: status for status in CODES_BY_STATUS
    }


def test_the_shortest_problem() -> None:
    """Members without content are left out."""
    problem = Problem("not-found")
    assert problem.as_dict() == {
        "type": "urn:fieldproof:problem:not-found",
        "title": "未找到 / Not found",
        "status": 404,
        "code": "not-found",
    }
    assert str(problem) == "not-found"
    assert problem.status == 404


def test_a_problem_with_everything() -> None:
    """Field, limit and further members are for the program, the detail for the person."""
    problem = Problem("limit-exceeded", detail="too long", field="body.notes", limit=0, last_common_seq=7)
    assert problem.as_dict() == {
        "type": "urn:fieldproof:problem:limit-exceeded",
        "title": "超出限制 / Limit exceeded",
        "status": 422,
        "code": "limit-exceeded",
        "detail": "too long",
        "field": "body.notes",
        "limit": 0,
        "last_common_seq": 7,
    }
    assert str(problem) == "limit-exceeded: too long"


def test_an_unnamed_field_is_still_named() -> None:
    """The empty text is a possible member name."""
    assert Problem("invalid-field", field="").as_dict()["field"] == ""


def test_a_problem_can_be_stored_whatever_it_quotes() -> None:
    """PostgreSQL's JSON has no U+0000, and a problem is stored with its act."""
    stored = json.dumps(Problem("invalid-field", field="a\0b", detail="unknown: \0").as_dict())
    assert "\\u0000" not in stored
    assert "a\\ufffdb" in stored


def test_an_unknown_code_is_a_programming_error() -> None:
    """It fails where it is raised, not at the client."""
    with pytest.raises(KeyError):
        Problem("no-such-problem")
