"""Makes a sample province from a seed: the same seed and number give the same rows on every machine. Pure.

All names say 样例 ("sample") and all organisation codes begin with FX (for 虚构, fictitious), so that nobody can take
one for real. Positions lie within `SPREAD_KM` of the centre of the entity's city and are declared WGS-84.
"""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, product
from typing import Any

from schemas.divisions import PROVINCE, Division, city_centres, divisions, full_name, path_of, townships
from schemas.identifiers import USCC_ALPHABET, make_uscc
from server.province.content import SECTORS, SectorContent, lines_of
from sync.ids import RANDOM_BYTES, uuid7

MAX_ENTITIES = 1_000_000
CHUNK = 5_000
"""Entities made from one generator."""
SPREAD_KM = 20.0
KM_PER_DEGREE = 111.32
ID_MS = 1_767_225_600_000
"""Ids carry the first instants of 2026: they do not depend on when the sample is made."""
SERIALS = 31**6
STEP = 412_345_677
"""Not divisible by 31: multiples of it visit every serial number once."""
OFFICERS_PER_OFFICE = 4
FIRST = (
    "青禾",
    "云溪",
    "江月",
    "竹里",
    "晴川",
    "樱园",
    "荷塘",
    "松风",
    "梅岭",
    "星河",
    "石桥",
    "芦花",
    "白鹭",
    "柳岸",
    "枫林",
    "碧潭",
)
SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦许何吕施张孔曹严华金魏陶姜"
GRADES, RISK_SHARES, CREDIT_SHARES = "ABCD", (50, 34, 12, 4), (40, 42, 14, 4)


def _id(rng: random.Random, ordinal: int) -> str:
    return uuid7(ID_MS + ordinal // 256, rng.randbytes(RANDOM_BYTES))


def _letters(number: int) -> str:
    text = ""
    for _ in range(6):
        number, rest = divmod(number, 31)
        text += USCC_ALPHABET[rest]
    return text


Made = dict[str, Any]


def directory(seed: int) -> Iterator[tuple[Made, list[Made]]]:
    """Yield the supervision items of every sector, each with its checklists; items of penalties have none."""
    for index, content in enumerate(SECTORS, start=1):
        rng, body = (
            random.Random(f"directory:{seed}:{content.sector}"),
            make_uscc("11", PROVINCE, f"FX{_letters(index)}"),
        )
        numbers = count(1)
        for place, one in enumerate(content.items, start=1):
            item = {
                "id": _id(rng, index), "code": f"4200{index:02d}{place:08d}", "name": one.name,
                "basis": f"《{one.law.title}》", "department": content.department, "sector": content.sector,
                "item_type": one.type, "level": one.level,
            }  # fmt: skip
            yield (
                item,
                [
                    {
                        "id": _id(rng, index), "code": f"{body}1{next(numbers):03d}", "version": 1,
                        "name": f"{one.name}（{asked.name}）", "item": item["id"],
                        "sub_items": list(lines_of(asked, one.law)),
                    }
                    for asked in one.checklists
                ],
            )  # fmt: skip


def offices() -> list[str]:
    """Return the division codes of the cities; 429000 stands for the counties directly below the province."""
    return sorted(division.code for division in divisions().values() if division.level == "city")


def officers(seed: int) -> Iterator[dict[str, Any]]:
    """Return officers of every sector in every city; some certificates have expired, some cover one sector only."""
    rng = random.Random(f"officers:{seed}")
    start = datetime(2022, 1, 1, tzinfo=UTC)
    for ordinal, (office, content, _) in enumerate(product(offices(), SECTORS, range(OFFICERS_PER_OFFICE))):
        years = 2 if rng.random() < 0.04 else 8
        yield {
            "id": _id(rng, ordinal),
            "name": f"{SURNAMES[ordinal % len(SURNAMES)]}样例{ordinal // len(SURNAMES) + 1}",
            "certificate_number": f"样例证-42-{ordinal + 1:06d}",
            "certificate_valid_from": start,
            "certificate_valid_until": start + timedelta(days=365 * years),
            "scope": [content.sector] if rng.random() < 0.5 else [],
            "region": office,
            "department": content.department,
        }


def entities(number: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Return entities in chunks, spread over townships and sectors."""
    places = [(township, centre) for township in townships() if (centre := _centre(township)) is not None]
    names = {township.code: full_name(township.code) for township, _ in places}
    for start in range(0, number, CHUNK):
        rng = random.Random(f"entities:{seed}:{start}")
        yield [_entity(rng, seed, i, places, names) for i in range(start, min(start + CHUNK, number))]


def _centre(township: Division) -> tuple[float, float] | None:
    known = city_centres()
    return next((known[one.name] for one in path_of(township.code) if one.name in known), None)


def _entity(
    rng: random.Random,
    seed: int,
    ordinal: int,
    places: list[tuple[Division, tuple[float, float]]],
    names: dict[str, str],
) -> dict[str, Any]:
    township, (lat, lon) = places[int(rng.random() * len(places))]
    content: SectorContent = SECTORS[int(rng.random() * len(SECTORS))]
    business = content.businesses[int(rng.random() * len(content.businesses))]
    own = rng.random() < 0.4
    away_km, angle = SPREAD_KM * math.sqrt(rng.random()), 2 * math.pi * rng.random()
    address = f"{names[township.code]}虚构路{1 + int(rng.random() * 998)}号"
    return {
        "id": _id(rng, ordinal),
        "name": f"样例{FIRST[int(rng.random() * len(FIRST))]}{business}{ordinal + 1:07d}号",
        "nature": "3" if own else "2",
        "uscc": make_uscc("92" if own else "91", township.parent, f"FX{_letters((ordinal * STEP + seed) % SERIALS)}"),
        "registered_address": address,
        "operating_address": address,
        "region": township.code,
        "lat": round(lat + away_km * math.sin(angle) / KM_PER_DEGREE, 6),
        "lon": round(lon + away_km * math.cos(angle) / (KM_PER_DEGREE * math.cos(math.radians(lat))), 6),
        "datum": "WGS-84",
        "entity_type": "02" if own else "01",
        "sector": content.sector,
        "risk": rng.choices(GRADES, RISK_SHARES)[0],
        "credit": rng.choices(GRADES, CREDIT_SHARES)[0],
    }
