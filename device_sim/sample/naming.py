"""Synthetic names, addresses and firm codes: no real firm of the source data is ever shown.

Every text begins with 样例 ("sample") or contains 虚构 ("fictitious"), so that nobody can take one for a real firm.
All of it depends only on a key, so that the same source row gets the same name on every machine.
"""

from __future__ import annotations

import hashlib

from device_sim.sample.divisions import Township, unit_interval
from schemas.identifiers import USCC_ALPHABET, make_uscc

_FIRST = "青禾 云溪 江月 竹里 晴川 樱园 荷塘 松风 梅岭 星河 麦田 橙光 石桥 芦花 白鹭 珞珈 柳岸 枫林 碧潭 杏坊".split()  # noqa: SIM905 - a list of words reads better so
_SECOND = "小厨 面馆 粉店 汤包铺 饭庄 烘焙坊 茶餐厅 食堂 生鲜店 便利店 热干面馆 蒸菜馆 糕点铺 豆坊 卤味店 超市".split()  # noqa: SIM905

_FICTITIOUS_PREFIX = "FX"
"""All synthetic organisation codes begin with these letters (FX for 虚构), so that they are easy to tell."""


def pick(options: list[str], *key: str) -> str:
    """One of `options`, fixed by `key`."""
    return options[int(unit_interval(*key) * len(options))]


def business_key(source_id: str) -> str:
    """The name under which a business of the source is known here: 12 hex digits that do not give its id away."""
    return hashlib.sha256(f"fieldproof-business\n{source_id}".encode()).hexdigest()[:12]


def business_name(key: str) -> str:
    """A plainly fictitious business name, such as 样例青禾小厨0417号店."""
    number = int(unit_interval("number", key) * 10_000)
    return f"样例{pick(_FIRST, 'first', key)}{pick(_SECOND, 'second', key)}{number:04d}号店"


def business_address(key: str, township: Township) -> str:
    """A fictitious street address in a real township."""
    return f"湖北省{township.full_name}虚构路{1 + int(unit_interval('house', key) * 998)}号"


def synthetic_uscc(key: str, county_code: str, *, registration: str = "91") -> str:
    """A valid, plainly synthetic 18-character firm code registered in `county_code` (six digits).

    `registration` is the authority and the kind: 91 an enterprise, 11 a government body.
    """
    digest = hashlib.sha256(f"fieldproof-uscc\n{key}".encode()).digest()
    serial = _FICTITIOUS_PREFIX + "".join(USCC_ALPHABET[byte % len(USCC_ALPHABET)] for byte in digest[:6])
    return make_uscc(registration, county_code, serial)
