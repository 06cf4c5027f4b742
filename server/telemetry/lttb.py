"""Largest triangle three buckets: fewer points that look like all of them (S. Steinarsson, 2013). Pure."""

from collections.abc import Sequence

Point = tuple[float, float]
"""(x, y); x ascends."""


def lttb(points: Sequence[Point], limit: int) -> list[Point]:
    """Return at most `limit` of the points: both ends, and of each bucket between them the one that stands out most.

    Raises:
        ValueError: `limit` is less than 3.
    """
    if limit < 3:
        raise ValueError("needs room for the first point, the last one, and one between")
    count = len(points)
    if count <= limit:
        return list(points)
    edges = [1 + bucket * (count - 2) // (limit - 2) for bucket in range(limit - 1)]
    chosen = [points[0]]
    for start, end, after in zip(edges[:-1], edges[1:], [*edges[2:], count], strict=True):
        following = points[end:after]
        mean_x = sum(x for x, _ in following) / len(following)
        mean_y = sum(y for _, y in following) / len(following)
        last_x, last_y = chosen[-1]

        def area(point: Point, ax: float = last_x, ay: float = last_y, cx: float = mean_x, cy: float = mean_y) -> float:
            return abs((ax - cx) * (point[1] - ay) - (ax - point[0]) * (cy - ay))

        chosen.append(max(points[start:end], key=area))
    return [*chosen, points[-1]]
