"""The shipped outline of Hubei and the projection over it."""

import re

import pytest

from server.pages.outline import load_outline, prefecture_code


def test_has_every_prefecture_once() -> None:
    """All 17 prefecture-level units of Hubei are drawn, each under its own code."""
    outline = load_outline()
    assert len(outline.prefectures) == len(outline.by_code()) == 17
    assert {"420100", "422800", "429021"} <= outline.by_code().keys()


def test_every_path_stays_inside_the_drawing() -> None:
    """Walking each relative path never leaves the view box, and each label lies inside it."""
    outline = load_outline()
    for prefecture in outline.prefectures:
        for ring in prefecture.path.rstrip("z").split("z"):
            start, steps = re.fullmatch(r"M(\d+ \d+)l(.+)", ring).groups()  # type: ignore[union-attr]  # a miss fails
            x, y = map(int, start.split())
            numbers = [int(text) for text in re.findall(r"-?\d+", steps)]
            for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
                x, y = x + dx, y + dy
                assert 0 <= x <= outline.width
                assert 0 <= y <= outline.height
        assert 0 < prefecture.label[0] < outline.width
        assert 0 < prefecture.label[1] < outline.height


@pytest.mark.parametrize(
    ("code", "lat", "lon"),
    [("420100", 30.584355, 114.298572), ("420300", 32.646907, 110.787916), ("422800", 30.283114, 109.48699)],
)
def test_a_city_lies_near_its_label(code: str, lat: float, lon: float) -> None:
    """A city's centre is projected into the neighbourhood of its unit's label, so points and outline agree."""
    outline = load_outline()
    point = outline.project(lat, lon)
    label = outline.by_code()[code].label
    assert point is not None
    assert abs(point[0] - label[0]) < 200
    assert abs(point[1] - label[1]) < 200


@pytest.mark.parametrize(("lat", "lon"), [(39.9, 116.4), (30.5, 100.0), (28.0, 112.0)])
def test_points_outside_are_left_out(lat: float, lon: float) -> None:
    """A point that is not on the drawing has no position."""
    assert load_outline().project(lat, lon) is None


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("420106", "420100"),
        ("420106001", "420100"),
        ("429004", "429004"),
        ("429021100", "429021"),
        ("422801", "422800"),
    ],
)
def test_regions_belong_to_a_drawn_unit(region: str, code: str) -> None:
    """Counties and townships belong to their prefecture; directly administered counties are units of their own."""
    assert prefecture_code(region) == code
    assert code in load_outline().by_code()
