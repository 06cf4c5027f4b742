"""How values look on a page: Beijing time, spans of time, grouped digits, shortened hashes. UTC ends here."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from flask import url_for
from flask_babel import gettext, ngettext
from markupsafe import Markup

from server.pages.overview_values import MapPoint

BEIJING = ZoneInfo("Asia/Shanghai")
STATIC = Path(__file__).parent / "static"
ROOT_CHARS_SHOWN = 12
BAR_FLOOR = 4
BAR_SPAN = 36
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
SIZE_CLASSES = (("s", 1, 1), ("m", 2, 4), ("l", 5, None))
"""Size class of a map point by the number of entities on its spot: from, to (inclusive)."""
MINOR_PREFECTURES = frozenset({"420700", "429004", "429005", "429006", "420200", "429021"})
"""Units too small on a narrow screen to carry their name."""


def number(value: int) -> str:
    """Return a count with its digits grouped by threes."""
    return f"{value:,}"


def local_time(instant: datetime) -> str:
    """Return an instant as Beijing wall time to the minute."""
    return instant.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M")


def clock_time(instant: datetime) -> str:
    """Return the Beijing time of day to the second."""
    return instant.astimezone(BEIJING).strftime("%H:%M:%S")


def time_tag(instant: datetime) -> Markup:
    """Return a `<time>` element: Beijing time to read, the exact instant for machines."""
    return Markup('<time datetime="{}">{}</time>').format(instant.isoformat(), local_time(instant))


def ago(instant: datetime, now: datetime) -> str:
    """Return how long ago an instant was, in the largest whole unit; the future counts as just now."""
    seconds = int((now - instant) / timedelta(seconds=1))
    if seconds < MINUTE_S:
        return str(gettext("just now"))
    if seconds < HOUR_S:
        return str(ngettext("%(num)d minute ago", "%(num)d minutes ago", seconds // MINUTE_S))
    if seconds < DAY_S:
        return str(ngettext("%(num)d hour ago", "%(num)d hours ago", seconds // HOUR_S))
    return str(ngettext("%(num)d day ago", "%(num)d days ago", seconds // DAY_S))


def ago_tag(instant: datetime, now: datetime) -> Markup:
    """Return a `<time>` element that says how long ago, with the Beijing time in its title."""
    tag = Markup('<time datetime="{}" title="{}">{}</time>')
    return tag.format(instant.isoformat(), local_time(instant), ago(instant, now))


def short_hash(text: str) -> str:
    """Return the first characters of a hash."""
    return text if len(text) <= ROOT_CHARS_SHOWN else f"{text[:ROOT_CHARS_SHOWN]}…"


def short_dot(dot: str) -> str:
    """Return a dot with the end of its journal id only: the start of a UUIDv7 is a time and says little."""
    journal, _, sequence = dot.rpartition(":")
    return f"{journal[-6:]}:{sequence}"


def fingerprint(root: str) -> list[int]:
    """Return bar heights drawn from a root hash, so that a changed root is seen at a glance."""
    return [BAR_FLOOR + byte * BAR_SPAN // 255 for byte in bytes.fromhex(root)]


def entity_paths(points: Iterable[MapPoint]) -> Iterator[tuple[str, str]]:
    """Yield (size class, SVG path of round dots): one path a class keeps thousands of points small."""
    drawn = list(points)
    for name, least, most in SIZE_CLASSES:
        dots = [f"M{p.x} {p.y}h0" for p in drawn if p.count >= least and (most is None or p.count <= most)]
        if dots:
            yield name, "".join(dots)


@cache
def _asset_version(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def asset_url(name: str) -> str:
    """Return the address of a static file with its content hash, so that browsers may keep it for long."""
    return url_for("pages.asset", name=name, v=_asset_version(name))
