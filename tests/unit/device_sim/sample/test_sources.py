"""The --data rules, and foreign data that is as odd as real data."""

import gzip
import json
from datetime import date
from pathlib import Path

import pytest

from device_sim.sample import reading, sources
from device_sim.sample.sources import PHOTO_LIMIT_BYTES, DataFolderMissing, open_data
from device_sim.sample.telemetry import FACTORS

LATEST = date(2026, 1, 1)


def write_gzip(path: Path, content: str | bytes) -> None:
    """Write a gzip file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content if isinstance(content, bytes) else content.encode()))


def business(**changes: object) -> str:
    """One business line."""
    row = {"id": "A1", "name": "n", "address": "a", "city": "c", "lat": 1.5, "lon": 2.5, "inspections": []} | changes
    return json.dumps(row)


def inspection(**changes: object) -> dict[str, object]:
    """One inspection of a business line."""
    return {"date": "2016-01-02", "reason": "routine", "result": "pass", "violations": []} | changes


def test_without_a_folder_the_sample_serves() -> None:
    """The shipped sample alone has more than 10,000 readings, 300 businesses and 700 inspections."""
    data = open_data(None)
    readings = [value for path in data.telemetry for hour in data.station_hours(path) for value in hour.values.values()]
    assert len(data.businesses) == 300
    assert sum(len(one.inspections) for one in data.businesses) >= 700
    assert len(readings) == 4 * 600 * len(FACTORS) > 12_000
    assert "NA" in readings
    assert " " in readings
    assert len(data.divisions.townships) == 1475
    assert data.skipped.total == 0
    assert data.origins == {"inspections": "sample", "telemetry": "sample", "divisions": "sample", "photos": "drawn"}


def test_the_sample_names_no_real_firm() -> None:
    """Names, addresses, cities and ids of the sample are synthetic and say so."""
    for one in open_data(None).businesses:
        assert one.source_id.startswith("SAMPLE")
        assert one.name.startswith("样例")
        assert "虚构" in one.city
        assert one.address == "" or "虚构" in one.address


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A --data folder that does not exist is refused by name."""
    with pytest.raises(DataFolderMissing, match="nowhere"):
        open_data(tmp_path / "nowhere")


def test_parts_that_the_folder_lacks_come_from_the_sample(tmp_path: Path) -> None:
    """Only what the folder has replaces the sample, and the origin of each part is told."""
    write_gzip(tmp_path / "inspections" / "any_name.jsonl.gz", business(inspections=[inspection()]))
    data = open_data(tmp_path, latest=LATEST)
    assert [one.source_id for one in data.businesses] == ["A1"]
    assert data.origins["inspections"] == str(tmp_path)
    assert data.origins["telemetry"] == data.origins["divisions"] == "sample"
    assert len(data.stations) == 4
    assert data.photos == ()


def test_a_folder_without_usable_inspections_falls_back_to_the_sample(tmp_path: Path) -> None:
    """A file of garbage counts as missing, and its lines are counted."""
    write_gzip(tmp_path / "inspections" / "x.jsonl.gz", "garbage\n[]\n")
    data = open_data(tmp_path, latest=LATEST)
    assert data.origins["inspections"] == "sample"
    assert len(data.businesses) == 300
    assert data.skipped.counts == {"not-json": 1, "not-an-object": 1}


def test_odd_businesses_are_counted_and_never_raise(tmp_path: Path) -> None:
    """Missing keys, wrong types, duplicates, NaN, surrogates and deep nesting: kept as far as they can be."""
    lines = [
        business(id=None),
        business(id="dup", inspections=[inspection()]),
        business(id="dup"),
        business(id=7, lat=None, lon=None),
        business(id="zero", lat=0, lon=0),
        '{"id": "nan", "lat": NaN, "lon": 1e999}',
        '{"id": "text", "lat": "1.5", "lon": "x", "name": "\\ud800 \\u0000 x", "address": null}',
        business(id="big", lat=10**400, lon=True),
        "[" * 100_000,
        "",
        '{"id": "cut',
        business(id="bad-lists", inspections={"a": 1}),
    ]
    write_gzip(tmp_path / "inspections" / "odd.jsonl.gz", "\n".join(lines))
    data = open_data(tmp_path, latest=LATEST)
    found = {one.source_id: one for one in data.businesses}
    assert sorted(found) == ["7", "bad-lists", "big", "dup", "nan", "text", "zero"]
    assert all(
        one.latitude is None and one.longitude is None
        for name, one in found.items()
        if name not in ("dup", "bad-lists")
    )
    assert (found["dup"].latitude, found["dup"].longitude) == (1.5, 2.5)
    assert found["text"].name == "? x"
    assert found["text"].address == ""
    assert data.skipped.counts == {
        "business-without-id": 1, "business-twice": 1, "not-json": 2, "inspections-not-a-list": 1,
    }  # fmt: skip


def test_odd_inspections_are_counted_and_never_raise(tmp_path: Path) -> None:
    """Dates in several notations are read; unreadable and unbelievable ones, and odd violations, are counted."""
    rows = [
        inspection(date="2016-03-01T10:00:00"),
        inspection(date="03/02/2016"),
        inspection(date="20160303"),
        inspection(date="soon"),
        inspection(date=None),
        inspection(date="2999-01-01"),
        inspection(date="1066-10-14"),
        "not an object",
        inspection(violations=None),
        inspection(violations="none"),
        inspection(
            violations=[{}, {"item": '"06. Sinks"', "severity": "MAJOR"}, {"item": "06. Sinks"}, "bare text", 5]
        ),
        {"date": "2016-01-09"},
    ]
    write_gzip(tmp_path / "inspections" / "odd.jsonl.gz", business(inspections=rows))
    data = open_data(tmp_path, latest=LATEST)
    found = data.businesses[0].inspections
    assert [one.day.isoformat() for one in found] == [
        "2016-01-02", "2016-01-02", "2016-01-02", "2016-01-09", "2016-03-01", "2016-03-02", "2016-03-03",
    ]  # fmt: skip
    assert [(one.item, one.severity) for row in found for one in row.violations] == [
        ("06. Sinks", "major"),
        ("bare text", None),
    ]
    assert data.skipped.counts == {
        "inspection-date-unreadable": 2, "inspection-date-out-of-range": 2, "inspection-not-an-object": 1,
        "violations-not-a-list": 1, "violation-without-text": 2, "violation-twice": 1,
    }  # fmt: skip


def test_limits_of_a_business_are_counted(tmp_path: Path) -> None:
    """More inspections or violations than the limits are cut off and counted."""
    many = [{"item": f"item {n}"} for n in range(201)]
    rows = [inspection(violations=many)] + [inspection() for _ in range(1000)]
    write_gzip(tmp_path / "inspections" / "x.jsonl.gz", business(inspections=rows))
    data = open_data(tmp_path, latest=LATEST)
    assert len(data.businesses[0].inspections) == 1000
    assert data.skipped.counts == {"too-many-inspections": 1, "too-many-violations": 1}


def test_damaged_and_overlong_files_keep_what_came_before(tmp_path: Path) -> None:
    """A cut gzip, a file that is none, and a line beyond the limit do not spoil the rest."""
    folder = tmp_path / "inspections"
    good = business(id="ok", inspections=[inspection()])
    write_gzip(folder / "a.jsonl.gz", b'{"id": "' + b"x" * (4 * 1024 * 1024 + 5) + b'"}\n' + good.encode())
    folder.joinpath("b.jsonl.gz").write_bytes(b"no gzip")
    many = "\n".join(business(id=f"b{n}", name="y" * n) for n in range(3000))
    folder.joinpath("c.jsonl.gz").write_bytes(gzip.compress(many.encode())[:-500])
    data = open_data(tmp_path, latest=LATEST)
    assert data.businesses[0].source_id == "ok"
    assert len(data.businesses) > 2
    assert data.skipped.counts["line-too-long"] == 1
    assert data.skipped.counts["damaged-gzip"] == 2


def test_telemetry_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    """Columns are found by name, values stay raw text, and the station is the file's name."""
    rows = "SO2,hour,day,month,year,PM2.5,other\n12, 23,1,3,2013,NA,z\n-5,0,2,3,2013, ,z\n"
    write_gzip(tmp_path / "telemetry" / "air_quality_Here.csv.gz", rows)
    data = open_data(tmp_path, latest=LATEST)
    hours = list(data.station_hours(data.telemetry[0]))
    assert [hour.values for hour in hours] == [{"SO2": "12", "PM2.5": "NA"}, {"SO2": "-5", "PM2.5": " "}]
    assert hours[0].at.isoformat() == "2013-03-01T15:00:00+00:00"
    assert hours[0].station == "Here"


def test_odd_telemetry_rows_are_counted(tmp_path: Path) -> None:
    """Rows without a readable hour or without any value are counted, others are replayed."""
    rows = "year,month,day,hour,SO2\n2013,13,1,0,5\n2013,2,30,0,5\nx\n\n2013,2,1\n2013,2,1,5\n2013,2,1,6,7\n"
    write_gzip(tmp_path / "telemetry" / "air_quality_A.csv.gz", rows)
    write_gzip(tmp_path / "telemetry" / "air_quality_B.csv.gz", "nothing,known\n1,2\n")
    write_gzip(tmp_path / "telemetry" / "air_quality_C.csv.gz", 'year,SO2\n"' + "x" * 200_000 + '"\n')
    data = open_data(tmp_path, latest=LATEST)
    hours = [hour for path in data.telemetry for hour in data.station_hours(path)]
    assert [hour.values for hour in hours] == [{"SO2": "7"}]
    assert data.skipped.counts == {"hour-unreadable": 4, "hour-without-values": 1, "no-known-factor": 1, "not-csv": 1}
    assert data.skipped.rows[0].file == "air_quality_A.csv.gz"
    assert data.skipped.rows[0].line == 2


def test_photos_are_found_anywhere_below_their_folder(tmp_path: Path) -> None:
    """Any picture by its extension, in any case; other files, empty ones and those beyond the limit are left out."""
    for name in ("a.JPG", "deep/er/b.HEIC", "deep/c.txt", "d.png", "empty.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty.jpg" else b"x")
    with (tmp_path / "photos" / "huge.jpg").open("wb") as stream:
        stream.truncate(PHOTO_LIMIT_BYTES + 1)
    data = open_data(tmp_path, latest=LATEST)
    assert [path.name for path in data.photos] == ["a.JPG", "d.png", "b.HEIC"]
    assert data.origins["photos"] == str(tmp_path)
    assert data.skipped.counts == {"photo-size-out-of-limit": 2}


def test_limits_of_a_folder_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limits nothing more is taken, and what was left out is counted."""
    for limit in ("BUSINESSES_LIMIT", "STATIONS_LIMIT", "PHOTOS_LIMIT"):
        monkeypatch.setattr(sources, limit, 1)
    monkeypatch.setattr(reading, "LINES_PER_FILE_LIMIT", 3)
    rows = "\n".join(business(id=f"b{n}", inspections=[inspection()]) for n in range(3))
    write_gzip(tmp_path / "inspections" / "x.jsonl.gz", rows)
    for name in "AB":
        write_gzip(tmp_path / "telemetry" / f"air_quality_{name}.csv.gz", "year,SO2\n" * 9)
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(b"x")
    (tmp_path / "photos" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    data = open_data(tmp_path, latest=LATEST)
    assert (len(data.businesses), len(data.telemetry), len(data.photos)) == (1, 1, 1)
    assert list(data.station_hours(data.telemetry[0])) == []
    assert data.skipped.counts == {
        "too-many-businesses": 1, "too-many-stations": 1, "too-many-photos": 1, "photo-unreadable": 1,
        "too-many-lines": 1, "hour-unreadable": 2,
    }  # fmt: skip


def test_divisions_of_the_folder_replace_the_sample(tmp_path: Path) -> None:
    """Rows that are incomplete, repeated or below no known city are left out."""
    folder = tmp_path / "divisions"
    folder.mkdir()
    rows = [
        "code,name,level,parent_code", "420100,武汉市,city,420000", "420102,江岸区,county,420100",
        "420102002,大智街道,township,420102", "420102002,twice,township,420102", "x,no code,township,420102",
        "429004,仙桃市,county,429000", "429004001,沙嘴街道,township,429004", "420999001,orphan,township,420999",
        "420111,nowhere,county,420777", "420111001,lost,township,420111",
    ]  # fmt: skip
    (folder / "mine.csv").write_text("\n".join(rows), encoding="utf-8")
    data = open_data(tmp_path, latest=LATEST)
    assert [one.full_name for one in data.divisions.townships] == ["武汉市江岸区大智街道", "仙桃市沙嘴街道"]
    assert data.skipped.counts == {"division-twice": 1, "division-incomplete": 1}
