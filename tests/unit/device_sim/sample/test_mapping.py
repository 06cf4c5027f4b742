"""Mapping real histories onto the platform: rules, determinism, and valid codes."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from device_sim.sample.checklists import CATCH_ALL_NUMBER, NUMBERED, PLAIN, STATION, number_sub_items, sector_of
from device_sim.sample.divisions import TOWNSHIP_RADIUS_KM, Divisions
from device_sim.sample.inspections import RealBusiness, RealInspection, RealViolation
from device_sim.sample.made_visits import drawn_visit, verification_visit
from device_sim.sample.mapping import ENTITY_RADIUS_KM, MappedWorld, map_station, map_world
from device_sim.sample.naming import business_key, synthetic_uscc
from device_sim.sample.results import is_visit
from device_sim.sample.sources import open_data
from schemas.codes import code_table
from schemas.identifiers import check_checklist_code, check_item_code, check_uscc
from schemas.kinds import KINDS
from schemas.kinds.reference import MAX_SUB_ITEMS

DATA = open_data(None)


def visit(
    day: str, *items: str, reason: str = "routine", result: str = "pass", **violation: str | None
) -> RealInspection:
    """One real inspection with violations of these texts."""
    details = {"severity": "major", "status": "out_of_compliance"} | violation
    found = tuple(RealViolation(item, details["severity"], details["status"] or "") for item in items)
    return RealInspection(date.fromisoformat(day), reason, result, found)


def shop(*history: RealInspection, source_id: str = "REAL1") -> RealBusiness:
    """One real business."""
    return RealBusiness(source_id, "REAL NAME LLC", "1 REAL STREET", "REAL CITY", 37.5, -122.3, history)


def world_of(*businesses: RealBusiness) -> MappedWorld:
    """These businesses mapped, with one station."""
    return map_world(businesses, ("Dongsi",), DATA.divisions)


@pytest.fixture(scope="module")
def world() -> MappedWorld:
    """The whole sample, mapped."""
    return map_world(DATA.businesses, DATA.stations, DATA.divisions)


def test_everything_mapped_fits_the_wire_schemas(world: MappedWorld) -> None:
    """Entities, items and checklists load in their kinds' schemas; codes pass their checks."""
    for entity in world.entities.values():
        KINDS["entity"].schema().load(entity.fields())
        assert check_uscc(entity.uscc) is None
    for checklist in world.checklists.values():
        KINDS["item"].schema().load(checklist.item_fields())
        KINDS["checklist"].schema().load(checklist.checklist_fields())
        assert check_item_code(checklist.item_code) is None
        assert check_checklist_code(checklist.code) is None
    for inspection in world.inspections.values():
        assert code_table("inspection_result").find(inspection.result)
        assert code_table("inspection_category").find(inspection.category)
        assert code_table("inspection_form").find(inspection.form)
        numbers = {line.number for line in world.checklists[inspection.checklist].sub_items}
        assert {answer.number for answer in inspection.answers} <= numbers
        assert len({answer.number for answer in inspection.answers}) == len(inspection.answers)


def test_no_name_of_the_source_survives() -> None:
    """Name, address, city and id of a real firm appear nowhere in what is mapped."""
    mapped = world_of(shop(visit("2016-01-01", "06. Sinks")))
    assert not any(word in repr(mapped) for word in ("REAL NAME", "REAL STREET", "REAL CITY", "REAL1", "37.5"))
    assert mapped.entities[business_key("REAL1")].name.startswith("样例")


def test_mapping_is_deterministic() -> None:
    """The same rows give the same world, whatever else is mapped beside them."""
    one = shop(visit("2016-01-01", "06. Sinks"))
    other = shop(visit("2014-01-01", "Sinks"), source_id="REAL2")
    key = business_key("REAL1")
    assert world_of(one).entities[key] == world_of(other, one).entities[key]
    assert world_of(one).inspections == world_of(one).inspections


def test_entities_stand_near_their_city(world: MappedWorld) -> None:
    """Each entity lies within the stated radii of a city's centre, in WGS-84."""
    centres = DATA.divisions.centres.values()
    for entity in world.entities.values():
        assert entity.position["datum"] == "WGS-84"
        nearest_km = min(
            math.hypot(
                (entity.point.latitude - centre.latitude) * 111.32,
                (entity.point.longitude - centre.longitude) * 111.32 * math.cos(math.radians(centre.latitude)),
            )
            for centre in centres
        )
        assert nearest_km <= TOWNSHIP_RADIUS_KM + ENTITY_RADIUS_KM + 0.1


def test_violations_become_failed_answers_with_their_severity() -> None:
    """Known severities stay, others become None; on-site corrections are noted."""
    mapped = world_of(
        shop(
            visit("2016-01-01", "06. Sinks", severity="critical"),
            visit("2016-02-01", "07. Heat", severity="odd", status="corrected_on_site"),
        )
    )
    first, second = mapped.inspections.values()
    assert [(one.number, one.severity) for one in first.failures] == [("06", "critical")]
    assert [(one.number, one.severity) for one in second.failures] == [("07", None)]
    assert "当场改正" in second.failures[0].finding
    assert (first.result, second.result) == ("04", "02")


@pytest.mark.parametrize(
    ("reason", "result", "items", "code"),
    [
        ("routine", "pass", (), "01"),
        ("routine", "pass", ("01. A",), "03"),
        ("routine", "conditional_pass", ("01. A",), "04"),
        ("routine", "closed", (), "03"),
        ("routine", "never seen before", ("01. A",), "03"),
        ("OUT OF BUSINESS", "not_applicable", (), "07"),
    ],
)
def test_results_follow_word_and_violations(reason: str, result: str, items: tuple[str, ...], code: str) -> None:
    """Known words decide with the violations; unknown words fall back to the violations."""
    mapped = world_of(shop(visit("2016-01-01", *items, reason=reason, result=result)))
    assert [one.result for one in mapped.inspections.values()] == [code]


@pytest.mark.parametrize(
    ("reason", "form", "category"),
    [
        ("routine", "01", "03"), ("followup", "01", "06"), ("complaint", "02", "04"), ("investigation", "02", "02"),
        ("JOINT ACTIVITY", "02", "07"), ("CLOSURE INSPECTION", "02", "99"),
    ],
)  # fmt: skip
def test_reasons_become_form_and_category(reason: str, form: str, category: str) -> None:
    """Each reason has its form and category."""
    mapped = world_of(shop(visit("2016-01-01", "01. A", reason=reason)))
    assert [(one.form, one.category) for one in mapped.inspections.values()] == [(form, category)]


def test_office_entries_are_left_out_and_counted() -> None:
    """Training hours and reports are no visits, unless they found violations; a business without visits is counted."""
    office = visit("2016-01-01", reason="IN-SERVICE TRAINING-TRAINER")
    assert not is_visit(office)
    assert not is_visit(visit("2016-01-01", reason="unheard of"))
    assert is_visit(visit("2016-01-01", "01. A", reason="REPORT REVIEW"))
    mapped = world_of(shop(office))
    assert mapped.inspections == {}
    assert mapped.left_out == {"not-a-visit": 1, "business-without-visits": 1}


def test_a_business_that_comes_twice_is_counted() -> None:
    """The same source id again adds nothing."""
    one = shop(visit("2016-01-01"))
    mapped = world_of(one, one)
    assert len(mapped.inspections) == 1
    assert mapped.left_out == {"business-twice": 1}


def test_followups_name_what_they_recheck() -> None:
    """A follow-up points at the newest earlier visit with violations."""
    mapped = world_of(
        shop(
            visit("2016-01-01", reason="followup"),
            visit("2016-02-01", "01. A"),
            visit("2016-03-01"),
            visit("2016-04-01", reason="followup"),
        )
    )
    assert [one.recheck_of and one.recheck_of[-3:] for one in mapped.inspections.values()] == [None, None, None, "001"]


def test_each_form_of_text_is_a_checklist_of_its_time() -> None:
    """Bare texts, numbered and lettered ones; mixed visits are numbered; without texts the day decides."""
    mapped = world_of(
        shop(
            visit("2013-05-01", "Sinks"),
            visit("2014-05-01"),
            visit("2016-05-01"),
            visit("2016-06-01", "C7 Polystyrene", "Sinks", "06. Sinks", "06. Other sinks"),
        )
    )
    assert [one.checklist for one in mapped.inspections.values()] == [PLAIN, PLAIN, NUMBERED, NUMBERED]
    assert [line.number for line in mapped.checklists[PLAIN].sub_items] == ["N001"]
    assert {line.number: line.text for line in mapped.checklists[NUMBERED].sub_items} == {
        "06": "06. Other sinks", "06-2": "06. Sinks", "C7": "C7 Polystyrene", "N001": "Sinks",
    }  # fmt: skip
    assert len(mapped.checklists[STATION].sub_items) == 6


def test_more_texts_than_a_checklist_holds_share_a_catch_all() -> None:
    """The most frequent texts keep their own sub-items, the rest go to one that is there for them."""
    histories = [visit("2016-01-01", *(f"{n}. item" for n in range(k, k + 150))) for k in (0, 150, 300)]
    mapped = world_of(shop(*histories, visit("2016-02-01", "5. item")))
    lines = mapped.checklists[NUMBERED].sub_items
    assert len(lines) == MAX_SUB_ITEMS
    assert lines[-1].number == CATCH_ALL_NUMBER
    KINDS["checklist"].schema().load(mapped.checklists[NUMBERED].checklist_fields())
    assert "5" in {line.number for line in lines}
    assert sum(answer.number == CATCH_ALL_NUMBER for one in mapped.inspections.values() for answer in one.failures) >= 1


def test_numbers_stay_distinct_for_awkward_texts() -> None:
    """Numbers are made unique even when a text brings one that looks like a made-up one."""
    numbers = [line.number for line in number_sub_items(["1. a", "1. b", "1. c", "N1 x", "x", "01. a"])]
    assert len(set(numbers)) == 6


def test_sectors_are_chinese_labels() -> None:
    """Keywords give a sector; what matches nothing is 其他."""
    assert sector_of("No rodents, insects") == "病媒生物防制"
    assert sector_of("Hot and cold holding temperatures") == "温度与时间控制"
    assert sector_of("qwerty") == "其他"


def test_choice_spreads_over_businesses_and_brings_rechecks(world: MappedWorld) -> None:
    """A choice has the wanted size, depends on the seed, and a re-check comes after what it re-checks."""
    chosen = world.choose(200, "7")
    assert len(chosen) == 200
    assert len({one.key for one in chosen}) == 200
    assert chosen == world.choose(200, "7") != world.choose(200, "8")
    assert len({one.entity for one in chosen}) >= 200 / 3
    order = [one.key for one in chosen]
    rechecks = [one for one in chosen if one.recheck_of in order]
    assert rechecks
    assert all(order.index(str(one.recheck_of)) < order.index(one.key) for one in rechecks)
    assert len(world.choose(10**6, "7")) == len(world.inspections)


def test_a_station_is_a_firm_of_its_own() -> None:
    """A telemetry station becomes an entity whose name says station and fiction."""
    entity = map_station("Dongsi", DATA.divisions)
    assert "Dongsi" in entity.name
    assert "虚构" in entity.name
    assert check_uscc(entity.uscc) is None


def test_verification_answers_every_sub_item() -> None:
    """A lead is confirmed when one sub-item fails, and refuted otherwise; the key decides."""
    lines = [(str(n), f"text {n}") for n in range(6)]
    when = datetime(2026, 1, 1, tzinfo=UTC)
    visits = [verification_visit(f"lead {n}", lines, when) for n in range(50)]
    assert all(len(one.answers) == 6 for one in visits)
    assert {one.result for one in visits} == {"01", "03"}
    assert all((one.result == "03") == bool(one.failures) for one in visits)
    assert visits[0] == verification_visit("lead 0", lines, when)


def test_a_drawn_visit_answers_every_sub_item() -> None:
    """What is found follows from the key alone, not from who was drawn or when it is."""
    lines = [(str(n), f"text {n}") for n in range(20)]
    when = datetime(2026, 1, 1, tzinfo=UTC)
    visits = [drawn_visit(f"draw:{n}", "checklist", lines, when) for n in range(30)]
    assert all(len(one.answers) == 20 and one.category == "01" for one in visits)
    assert all((one.result == "03") == bool(one.failures) for one in visits)
    assert drawn_visit("draw:0", "other", lines, datetime(2027, 1, 1, tzinfo=UTC)).answers == visits[0].answers


def test_without_townships_there_is_no_place() -> None:
    """An empty division table is refused, not guessed around."""
    with pytest.raises(LookupError):
        map_world([], ("Dongsi",), replace(DATA.divisions, rows={}))
    assert Divisions({}, {}).townships == ()


def test_synthetic_codes_are_valid_and_marked() -> None:
    """Generated firm codes pass both checks and carry the fictitious prefix."""
    for n in range(200):
        code = synthetic_uscc(f"key {n}", "420102")
        assert check_uscc(code) is None
        assert code[8:10] == "FX"
        assert code[2:8] == "420102"
