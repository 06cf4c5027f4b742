"""Hubei's outlines and the projection that puts points over them. Display only: the source names no datum."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OUTLINE_FILE = Path(__file__).parent / "data" / "hubei_outline.json"
DIRECT_COUNTIES = "4290"
"""Prefix of the units the province runs directly (仙桃, 潜江, 天门, 神农架): there the whole code names the unit."""


@dataclass(frozen=True)
class Prefecture:
    """One prefecture-level unit as drawn."""

    code: str
    """Six-digit division code."""
    name: str
    short_zh: str
    short_en: str
    label: tuple[int, int]
    """Where the name stands, drawing units."""
    path: str
    """SVG path data, drawing units."""


@dataclass(frozen=True)
class Outline:
    """The whole drawing."""

    width: int
    height: int
    west: float
    north: float
    x_per_degree: float
    y_per_degree: float
    prefectures: tuple[Prefecture, ...]

    def project(self, lat: float, lon: float) -> tuple[int, int] | None:
        """Return the drawing position of a point in degrees, or None if it lies outside the drawing."""
        x = round((lon - self.west) * self.x_per_degree)
        y = round((self.north - lat) * self.y_per_degree)
        return (x, y) if 0 <= x <= self.width and 0 <= y <= self.height else None

    def by_code(self) -> Mapping[str, Prefecture]:
        """Return the prefectures by division code."""
        return {prefecture.code: prefecture for prefecture in self.prefectures}


@cache
def load_outline() -> Outline:
    """Read the shipped drawing once."""
    raw = json.loads(OUTLINE_FILE.read_text(encoding="utf-8"))
    _, _, width, height = raw["view_box"]
    prefectures = tuple(
        Prefecture(
            code=entry["code"],
            name=entry["name"],
            short_zh=entry["short_zh"],
            short_en=entry["short_en"],
            label=(entry["label"][0], entry["label"][1]),
            path=entry["path"],
        )
        for entry in raw["prefectures"]
    )
    return Outline(width=width, height=height, prefectures=prefectures, **raw["projection"])


def prefecture_code(region: str) -> str:
    """Return the code of the drawn unit that a division code belongs to: 420106 → 420100, 429004001 → 429004."""
    return region[:6] if region.startswith(DIRECT_COUNTIES) else f"{region[:4]}00"
