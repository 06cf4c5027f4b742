"""The authenticated caller, and what is its business. Knows no HTTP: services take a caller as an argument."""

from dataclasses import dataclass

from server.errors import Problem


@dataclass(frozen=True)
class Principal:
    """The authenticated caller."""

    subject: str
    """Account id or device id."""
    role: str
    """admin, operator, auditor, officer, device, hand-in or central."""
    region: str
    """Division-code prefix without trailing zero pairs: `42` is the province, `420106` a county."""
    department: str
    """Department code; empty means all departments."""
    officers: tuple[str, ...] = ()
    """Officer ids the caller acts for."""
    device: str | None = None
    restriction: str = ""
    """Code of the problem that keeps the caller from what else its kind may do."""
    public_key: bytes = b""
    """The key by which a device signs."""
    key_number: int = 0
    """How many keys a device has had."""


def region_prefix(code: str) -> str:
    """Return a division code without its trailing zero pairs: 420000 → 42, 420100 → 4201, 420106001 → itself."""
    if len(code) == 6:
        while len(code) > 2 and code.endswith("00"):
            code = code[:-2]
    return code


def covers(caller: Principal, region: str, department: str) -> bool:
    """Tell whether something in `region` (division code) and `department` is the caller's business."""
    return region.startswith(caller.region) and caller.department in ("", department)


def require_scope(caller: Principal, region: str, department: str) -> None:
    """Raise `not-found` for what is outside the caller's scope: its existence is not the caller's business either.

    Raises:
        Problem: `not-found`.
    """
    if not covers(caller, region, department):
        raise Problem("not-found")
