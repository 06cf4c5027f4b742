"""What people and programs get to see."""

import json
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from device_sim.bench.frame import Suite
from device_sim.bench.measurement import PRODUCT, RAW, Measurement, Row
from device_sim.bench.show import note_lines, result_table, suite_table, write_json

ROWS = [
    Row(PRODUCT, "push-25", "records", Measurement(1_234.0, 1.0, [0.5], 100.4, "durable", {"missed": 3})),
    Row(RAW, "push-25", "records", Measurement(4_936.0, 1.0, [0.1], 50.0, "one thread")),
    Row(PRODUCT, "lonely", "MB", Measurement(12.34, 1.0, [0.1], 50.0, "no limit")),
]


def printed(renderable: object) -> str:
    """What a terminal of 80 columns shows."""
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_table_shows_rates_and_the_share_of_the_limit() -> None:
    """The ratio stands in the product's row; small rates keep a digit; nothing is cut at 80 columns."""
    lines = printed(result_table("a title", ROWS)).splitlines()
    product, raw, lonely = (next(line for line in lines if name in line) for name in (" 500.0", "4,936/s", "lonely"))
    assert product.split() == ["push-25", "fieldproof", "1,234/s", "0.250", "500.0", "500.0", "100"]
    assert "0.2" not in raw
    assert "12.3/s" in lonely
    assert "…" not in "".join(lines)


def test_notes_name_case_system_and_unit() -> None:
    """A note says what it belongs to, and ends with the extra numbers."""
    assert note_lines(ROWS)[0] == "push-25 (fieldproof, records): durable; missed 3"


def test_list_shows_suites_and_cases() -> None:
    """Every suite and every case is listed with what it measures."""
    suite = Suite("tea", "brewing", {"green": "three minutes"}, lambda _options, _folder: nullcontext([]))
    shown = printed(suite_table([suite]))
    assert all(word in shown for word in ("tea", "brewing", "green", "three minutes"))


def test_json_is_a_list_of_rows(tmp_path: Path) -> None:
    """The file holds one object for each row, in order."""
    path = tmp_path / "out.json"
    write_json(path, ROWS)
    written = json.loads(path.read_text("utf-8"))
    assert [(one["system"], one["case"]) for one in written] == [(row.system, row.case) for row in ROWS]
    assert written[0]["missed"] == 3
