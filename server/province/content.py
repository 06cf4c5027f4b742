"""The sample province's directory as data: sectors, their laws, items and checklists (`directory.toml`)."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

NEEDS = re.compile(r"\s*\[([^\]]+)\]\Z")
INSPECTION = "inspection"
"""The type of items that checklists belong to."""


@dataclass(frozen=True)
class Law:
    """A law, by its name in the register of knowledge."""

    number: str
    title: str
    since: str
    """From which day it is in force, in the version meant."""


@dataclass(frozen=True)
class ChecklistContent:
    """A checklist: what it is about, and its lines (Chinese / English, with what they need)."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class ItemContent:
    """A supervision item with its law; those of the type `inspection` have checklists."""

    name: str
    type: str
    level: str
    law: Law
    checklists: tuple[ChecklistContent, ...]


@dataclass(frozen=True)
class SectorContent:
    """One sector: who supervises it, by which laws, what firms of it are called, and its items."""

    sector: str
    department: str
    businesses: tuple[str, ...]
    laws: tuple[Law, ...]
    items: tuple[ItemContent, ...]


def _sector(said: Mapping[str, Any]) -> SectorContent:
    laws = tuple(
        Law(f"法规-{said['code']}-{place}", title.strip("《》"), since)
        for place, (title, since) in enumerate(said["laws"], start=1)
    )
    return SectorContent(
        said["code"], said["department"], tuple(said["businesses"]), laws,
        tuple(_item(item, laws[item["law"] - 1]) for item in said["item"]),
    )  # fmt: skip


def _item(said: Mapping[str, Any], law: Law) -> ItemContent:
    lists = tuple(ChecklistContent(one["name"], tuple(one["lines"])) for one in said.get("checklist", ()))
    return ItemContent(said["name"], said.get("type", INSPECTION), said.get("level", "province"), law, lists)


def _read() -> tuple[SectorContent, ...]:
    document = tomllib.loads((files(__package__ or "") / "directory.toml").read_text("utf-8"))
    return tuple(_sector(said) for said in document["sector"])


SECTORS = _read()


def lines_of(checklist: ChecklistContent, law: Law) -> Iterator[dict[str, Any]]:
    """Yield the lines of a checklist with what each needs; the first one points to the law in the register."""
    basis = f"《{law.title}》"
    for number, text in enumerate(checklist.lines, start=1):
        line: dict[str, Any] = {
            "number": str(number), "text": NEEDS.sub("", text), "method": "现场检查 / on site", "basis": basis,
            "penalty_basis": f"{basis}法律责任章",
        }  # fmt: skip
        if number == 1:
            line["knowledge"] = [law.number]
        if needs := NEEDS.search(text):
            asked, _, outcome = needs[1].partition("=")
            line |= {"asked_when": {"number": asked, "outcome": outcome}} if outcome else {"evidence": [asked]}
        yield line
