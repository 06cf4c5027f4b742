"""The identifiers of the domain and their checks: USCC, organisation, item, checklist, region, resident numbers.

Each `check_*` function returns None for a good value and otherwise a short reason, so that a schema, an import report
and a form can say the same thing.
"""

from __future__ import annotations

import re
from operator import mul

USCC_LENGTH = 18
USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""GB 32100-2015, table 1: digits and letters without I, O, S, V, Z; a character's place is its value."""
USCC_DEPARTMENTS = "123456789ANY"
"""First character, the registering department: GB 32100-2015 with its later additions; A, N and Y are in use."""

_USCC_VALUES = {letter: value for value, letter in enumerate(USCC_ALPHABET)}
_USCC_WEIGHTS = [pow(3, place, 31) for place in range(17)]
_USCC_FORM = re.compile(rf"[{USCC_DEPARTMENTS}][{USCC_ALPHABET}][0-9]{{6}}[{USCC_ALPHABET}]{{10}}")

_ORGANISATION_FORM = re.compile(r"[0-9A-Z]{8}[0-9X]")
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
_ORGANISATION_VALUES = {letter: value for value, letter in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")}

ITEM_CODE_DIGITS = 14
_ITEM_FORM = re.compile(r"[0-9]{14}")

MAX_CHECKLIST_CODE_CHARS = 64
_CHECKLIST_FORM = re.compile(r"(?P<uscc>.{18})[1-5][0-9A-Za-z_.-]{1,45}", re.DOTALL)

PROVINCES = frozenset(
    str(number)
    for block in (
        range(11, 16),
        range(21, 24),
        range(31, 38),
        range(41, 47),
        range(50, 55),
        range(61, 66),
        (71, 81, 82),
    )
    for number in block
)
"""First two digits of region codes (GB/T 2260)."""
_REGION_FORM = re.compile(r"[0-9]{6}")
_TOWNSHIP_FORM = re.compile(r"[0-9]{9}")

_RESIDENT_FORM = re.compile(r"[0-9]{17}[0-9X]")
_RESIDENT_WEIGHTS = [pow(2, 17 - place, 11) for place in range(17)]
_RESIDENT_CHECKS = "10X98765432"


def uscc_check_character(first_17: str) -> str:
    """Check character of a USCC over its first 17 characters (GB 32100-2015, 5.2)."""
    total = sum(map(mul, map(_USCC_VALUES.__getitem__, first_17), _USCC_WEIGHTS))
    return USCC_ALPHABET[-total % 31]


def organisation_check_character(first_8: str) -> str:
    """Check character of an organisation code over its first 8 characters (GB 11714-1997)."""
    total = sum(map(mul, map(_ORGANISATION_VALUES.__getitem__, first_8), _ORGANISATION_WEIGHTS))
    return "0123456789X0"[11 - total % 11]


def make_uscc(department_and_type: str, region: str, serial: str) -> str:
    """Build a USCC with both check characters from its parts: 2 characters, 6 digits, 8 characters.

    Raises ValueError if the parts cannot make one.
    """
    first_17 = department_and_type + region + serial + organisation_check_character(serial)
    code = first_17 + uscc_check_character(first_17)
    if (reason := check_uscc(code)) is not None:
        raise ValueError(reason)
    return code


def check_uscc(text: str) -> str | None:
    """Reason why `text` is no USCC (GB 32100-2015), or None. Both check characters are verified."""
    if len(text) != USCC_LENGTH:
        return f"统一社会信用代码应为18位 / a USCC has {USCC_LENGTH} characters"
    if not _USCC_FORM.fullmatch(text):
        return "统一社会信用代码含非法字符 / a USCC has only digits and letters without I, O, S, V, Z"
    if organisation_check_character(text[8:16]) != text[16]:
        return "主体标识码校验位不符 / the organisation code inside the USCC fails its check"
    if uscc_check_character(text[:17]) != text[17]:
        return "统一社会信用代码校验位不符 / the USCC fails its check"
    return None


def check_organisation_code(text: str) -> str | None:
    """Reason why `text` is no organisation code (GB 11714-1997, 9 characters, hyphen left out), or None."""
    if not _ORGANISATION_FORM.fullmatch(text):
        return "组织机构代码应为9位 / an organisation code has 9 characters"
    if organisation_check_character(text[:8]) != text[8]:
        return "组织机构代码校验位不符 / the organisation code fails its check"
    return None


def check_item_code(text: str) -> str | None:
    """Reason why `text` is no supervision item code (exactly 14 digits), or None."""
    if not _ITEM_FORM.fullmatch(text):
        return f"监管事项编码应为14位数字 / a supervision item code is exactly {ITEM_CODE_DIGITS} digits"
    return None


def check_checklist_code(text: str) -> str | None:
    """Reason why `text` is no checklist code: the implementing body's USCC, a digit 1-5 and a suffix; or None.

    The meaning of the digit is not published; it is stored as given.
    """
    match = _CHECKLIST_FORM.fullmatch(text)
    if match is None:
        return (
            "检查实施清单编码应为18位信用代码+1位数字(1-5)+后缀 / a checklist code is a USCC, a digit 1-5 and a suffix"
        )
    return check_uscc(match["uscc"])


def check_region(text: str) -> str | None:
    """Reason why `text` is no six-digit region code (GB/T 2260), or None."""
    if not _REGION_FORM.fullmatch(text) or text[:2] not in PROVINCES:
        return "行政区划代码应为6位有效代码 / a region code is 6 digits and begins with a province"
    return None


def check_township(text: str) -> str | None:
    """Reason why `text` is no nine-digit township code (GB/T 10114), or None."""
    if not _TOWNSHIP_FORM.fullmatch(text) or text[:2] not in PROVINCES:
        return "乡镇街道代码应为9位有效代码 / a township code is 9 digits and begins with a province"
    return None


def check_resident_number(text: str) -> str | None:
    """Reason why `text` is no resident identity number (GB 11643-1999, ISO 7064 MOD 11-2), or None."""
    if not _RESIDENT_FORM.fullmatch(text) or text[:2] not in PROVINCES:
        return "身份证号码应为18位 / a resident identity number has 18 characters"
    total = sum(int(digit) * weight for digit, weight in zip(text[:17], _RESIDENT_WEIGHTS, strict=True))
    if _RESIDENT_CHECKS[total % 11] != text[17]:
        return "身份证号码校验位不符 / the resident identity number fails its check"
    return None
