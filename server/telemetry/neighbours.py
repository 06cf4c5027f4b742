"""Which sensors of a factor stand near one another."""

from collections import defaultdict
from collections.abc import Iterator
from math import asin, cos, floor, radians, sin, sqrt
from typing import Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.telemetry.models import Sensor

NEIGHBOURS_LIMIT = 20
"""Most neighbours that are compared with: the nearest."""
RADIUS_LIMIT_KM = 100.0
REMEMBERED_LIMIT = 20_000
"""Most sensors whose neighbours are remembered."""
EARTH_RADIUS_KM = 6371.0
CELL_DEGREES = 0.1
"""Size of a cell of the grid, about 11 km from south to north."""
KM_A_DEGREE = 111.0
_PAGE = 10_000
Place = tuple[float, float]
"""(latitude, longitude) in degrees."""


class Neighbourhood:
    """Where the sensors of one factor stand, in a grid."""

    def __init__(self, places: dict[str, Place]) -> None:
        """Lay the grid: sensor → place."""
        self._places = places
        self._near: dict[tuple[str, float], list[str]] = {}
        self._cells: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
        for sensor_id in sorted(places):
            self._cells[_cell(places[sensor_id])].append(sensor_id)

    @classmethod
    def load(cls, session: Session, factor: str) -> Self:
        """Read it from the registry."""
        query = select(Sensor.id, Sensor.lat, Sensor.lon, Sensor.channels).execution_options(yield_per=_PAGE)
        return cls({row.id: (row.lat, row.lon) for row in session.execute(query) if factor in row.channels})

    def near(self, sensor_id: str, radius_km: float, limit: int | None = NEIGHBOURS_LIMIT) -> list[str]:
        """Return the sensors within a radius of one, without itself, nearest first; of equally near ones by id."""
        found = self._near.get((sensor_id, radius_km))
        if found is None:
            if len(self._near) >= REMEMBERED_LIMIT:
                self._near.clear()
            found = self._near[sensor_id, radius_km] = self._find(sensor_id, radius_km)
        return found[:limit]

    def _find(self, sensor_id: str, radius_km: float) -> list[str]:
        here = self._places.get(sensor_id)
        if here is None:
            return []
        distances = sorted((distance_km(here, self._places[other]), other) for other in self._around(here, radius_km))
        return [other for distance, other in distances if other != sensor_id and distance <= radius_km]

    def _around(self, here: Place, radius_km: float) -> Iterator[str]:
        rows = floor(radius_km / KM_A_DEGREE / CELL_DEGREES) + 1
        columns = floor(radius_km / KM_A_DEGREE / max(0.1, cos(radians(here[0]))) / CELL_DEGREES) + 1
        row, column = _cell(here)
        for north in range(row - rows, row + rows + 1):
            for east in range(column - columns, column + columns + 1):
                yield from self._cells.get((north, east), ())


def _cell(place: Place) -> tuple[int, int]:
    return floor(place[0] / CELL_DEGREES), floor(place[1] / CELL_DEGREES)


def distance_km(one: Place, other: Place) -> float:
    """Return the distance between two places on the globe."""
    (lat, lon), (other_lat, other_lon) = (tuple(map(radians, place)) for place in (one, other))
    half = sin((other_lat - lat) / 2) ** 2 + cos(lat) * cos(other_lat) * sin((other_lon - lon) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(min(1.0, half)))
