"""The sample province: deterministic, check-valid, spread over real divisions and the nine sectors."""

from collections import Counter

from schemas.codes import code_table
from schemas.divisions import divisions, path_of
from schemas.identifiers import check_checklist_code, check_item_code, check_uscc
from schemas.kinds import KINDS
from server.directory.contents import CHECKLISTS, ITEMS, check_content
from server.knowledge.register import KNOWLEDGE
from server.province import generate, records
from server.province.content import SECTORS
from server.province.seeding import AROUND
from server.registers.rows import load_row, plain


def test_the_same_seed_gives_the_same_province() -> None:
    """Rows depend on the seed alone, and a larger province begins with the smaller one's whole chunks."""
    assert list(generate.entities(30, 7)) == list(generate.entities(30, 7))
    assert list(generate.entities(30, 7)) != list(generate.entities(30, 8))
    assert next(generate.entities(generate.CHUNK + 1, 7)) == next(generate.entities(generate.CHUNK, 7))
    assert list(generate.officers(7)) == list(generate.officers(7))


def test_entities_are_valid() -> None:
    """Codes pass both checks and are distinct, places are townships, grades and sectors are in their tables."""
    rows = [row for chunk in generate.entities(3_000, 7) for row in chunk]
    assert [row["uscc"] for row in rows if check_uscc(row["uscc"])] == []
    assert len({row["uscc"] for row in rows}) == len({row["id"] for row in rows}) == len(rows)
    assert {divisions()[row["region"]].level for row in rows} == {"township"}
    assert {row["region"][:4] for row in rows} == {code[:4] for code in generate.offices()}
    for field, table in (("risk", "risk_grade"), ("credit", "credit_grade"), ("sector", "sector")):
        assert {row[field] for row in rows} == set(code_table(table).current.entries)
    assert all(29 <= row["lat"] <= 33.5 and 108 <= row["lon"] <= 116.5 for row in rows)
    assert min(Counter(row["sector"] for row in rows).values()) > 200


def test_items_and_checklists_are_valid() -> None:
    """Nine sectors, each with several items and checklists that the kinds' schemas take, and none said twice."""
    directory = list(generate.directory(7))
    assert list(generate.directory(7)) == directory
    assert list(dict.fromkeys(item["sector"] for item, _ in directory)) == list(code_table("sector").current.entries)
    for item, checklists in directory:
        assert check_item_code(item["code"]) is None
        check_content(ITEMS, item["code"], {name: value for name, value in item.items() if name not in ("id", "code")})
        assert bool(checklists) == (item["item_type"] == "inspection")
    lists = [checklist for _, checklists in directory for checklist in checklists]
    for checklist in lists:
        assert check_checklist_code(checklist["code"]) is None
        fields = {name: value for name, value in checklist.items() if name != "id"}
        KINDS["checklist"].schema().load(fields)
        needs = {name for line in fields["sub_items"] for name in line}
        assert {"basis", "penalty_basis", "asked_when", "evidence", "knowledge"} <= needs
        check_content(CHECKLISTS, checklist["code"], {name: fields[name] for name in ("name", "item", "sub_items")})
    items = [item for item, _ in directory]
    for rows, name in (
        (items, "code"),
        (items, "name"),
        (items, "id"),
        (lists, "code"),
        (lists, "name"),
        (lists, "id"),
    ):
        assert len({row[name] for row in rows}) == len(rows)
    for content in SECTORS:
        mine = [item for item in items if item["sector"] == content.sector]
        assert len(mine) >= 3
        assert {item["item_type"] for item in mine} > {"inspection"}
        assert sum(len(found) for item, found in directory if item["sector"] == content.sector) >= 2


def test_what_is_known_about_entities_is_valid() -> None:
    """Every record passes its register's own checks, follows from its entity alone, and law is linked by its number."""
    firms = [row for chunk in generate.entities(6_000, 7) for row in chunk]
    told = list(records.about(firms))
    assert list(records.about(firms[3_000:])) == told[len(list(records.about(firms[:3_000]))) :]
    assert all(count > 5 for count in Counter(name for name, _ in told).values())
    assert {name for name, _ in told} == set(AROUND)
    linked = {law.number for content in SECTORS for law in content.laws}
    assert {row["number"] for row in records.knowledge()} == linked
    for name, row in (*told, *(("knowledge", row) for row in records.knowledge())):
        register = KNOWLEDGE if name == "knowledge" else AROUND[name].register
        placed = {"region", "department"} if register.follows_entity else set()
        load_row(register, {field: plain(value) for field, value in row.items() if field not in placed})


def test_officers_stand_in_every_city_and_sector() -> None:
    """Enough of each department in each city for a draw, and some certificates that have expired."""
    staff = list(generate.officers(7))
    counted = Counter((row["region"], row["department"]) for row in staff)
    assert set(counted.values()) == {generate.OFFICERS_PER_OFFICE}
    assert len(counted) == len(generate.offices()) * len(SECTORS)
    assert 0 < sum(row["certificate_valid_until"].year < 2026 for row in staff) < len(staff) / 10
    assert all(path_of(row["region"])[0].code == "420000" for row in staff)
