"""The caller's region and department as conditions of a query, and as a test of one row."""

from sqlalchemy import ColumnElement, and_, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from server.web.principal import Principal

AFTER_DIGITS = "~"
"""Sorts behind every digit, so that a prefix becomes a range that an index can serve."""

Text = InstrumentedAttribute[str]


def in_region(caller: Principal, region: Text) -> ColumnElement[bool]:
    """Return the condition that a division code lies in the caller's region."""
    if not caller.region:
        return true()
    return and_(region >= caller.region, region < f"{caller.region}{AFTER_DIGITS}")


def in_department(caller: Principal, department: Text) -> ColumnElement[bool]:
    """Return the condition that something is the business of the caller's department (or of every department)."""
    return or_(department == "", department == caller.department) if caller.department else true()


def in_scope(caller: Principal, region: Text, department: Text) -> ColumnElement[bool]:
    """Return both conditions."""
    return and_(in_region(caller, region), in_department(caller, department))


def sees(caller: Principal, region: str, department: str) -> bool:
    """Tell of one row what :func:`in_scope` tells of many."""
    return region.startswith(caller.region) and caller.department in ("", department or caller.department)
