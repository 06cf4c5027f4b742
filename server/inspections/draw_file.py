"""The published file of a draw: first what was announced, then what was drawn. Pure.

    line 1            the announcement, JSON: plan, rules, commitment or beacon, and the SHA-256 of both rosters
    entity roster     one entity a line: id, region, risk, credit, visits, reason to be left out
    officer roster    one officer a line: id, region, valid from, valid until, scope, load, capacity, avoids
    the reveal        JSON: the secret behind the commitment, the beacon's value
    outcomes          one line for each entity of the roster: id, outcome, stratum or reason, best ticket
    assignments       one line for each drawn entity: id, officers, how many could go, refused by reason
    the summary       JSON: strata with size, quota and lowest drawn ticket; SHA-256 of everything above it
    substitutions     JSON, one a line, for officers who became unable later: who, why, and who was drawn in their place

Everything up to the rosters is published before the seed can be known. The columns of a line are separated by tabs.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from server.inspections.draw import (
    Assignment,
    Candidate,
    EntityDraw,
    Inspector,
    OfficerDraw,
    Rules,
    Stratum,
    draw_entities,
)

VERSION = "fieldproof-draw-v1"
SECRET_BYTES = 32


@dataclass(frozen=True)
class Roster:
    """Lines of a roster as they are published, line feeds included."""

    data: bytes

    @property
    def count(self) -> int:
        """How many lines."""
        return self.data.count(b"\n")

    @property
    def digest(self) -> dict[str, Any]:
        """What the announcement says of it."""
        return {"count": self.count, "sha256": hashlib.sha256(self.data).hexdigest()}

    def rows(self) -> Iterator[list[str]]:
        """Return the columns of each line."""
        return (line.split("\t") for line in self.data.decode().split("\n") if line)


@dataclass(frozen=True)
class Reveal:
    """What makes the seed, published after the announcement."""

    secret: str
    """Hexadecimal; empty when a beacon alone makes the seed."""
    beacon_value: str
    drawn_at: str


def entity_roster(candidates: Iterable[Candidate]) -> Roster:
    """Return the published roster of entities, in the order given."""
    return Roster("".join(f"{i}\t{g}\t{r}\t{c}\t{v}\t{x}\n" for i, g, r, c, v, x in candidates).encode())


def officer_roster(inspectors: Iterable[Inspector]) -> Roster:
    """Return the published roster of officers, in the order given."""
    rows = (
        (o.id, o.region, o.valid_from, o.valid_until, ",".join(sorted(o.scope)), str(o.load), str(o.capacity),
         ",".join(sorted(o.avoids)))
        for o in inspectors
    )  # fmt: skip
    return Roster("".join("\t".join(row) + "\n" for row in rows).encode())


def candidates_of(roster: Roster) -> Iterator[Candidate]:
    """Read an entity roster."""
    for entity, region, risk, credit, visits, reason in roster.rows():
        yield Candidate((entity, region, risk, credit, int(visits), reason))


def inspectors_of(roster: Roster) -> list[Inspector]:
    """Read an officer roster."""
    return [
        Inspector(
            officer, region, since, until, _set(scope), int(load), int(capacity), _set(avoids)
        )
        for officer, region, since, until, scope, load, capacity, avoids in roster.rows()
    ]  # fmt: skip


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split(",")) if text else frozenset()


def commitment(secret: str) -> str:
    """Return the commitment to a secret (hexadecimal)."""
    return hashlib.sha256(f"fieldproof-draw-commitment-v1\n{secret}".encode()).hexdigest()


def make_seed(secret: str, beacon_value: str) -> bytes:
    """Return the seed that a secret and a beacon's value make together."""
    return hashlib.sha256(f"fieldproof-draw-seed-v1\n{secret}\n{beacon_value}".encode()).digest()


def announce(
    plan: Mapping[str, Any],
    rules: Rules,
    entities: Roster,
    officers: Roster,
    *,
    committed: str,
    beacon: Mapping[str, str] | None,
    announced_at: str,
    draw_not_before: str = "",
) -> dict[str, Any]:
    """Return the announcement, which fixes everything but the seed.

    Args:
        plan: what is inspected, as people read it: id, number, title, item, checklist, department, region.
        rules: how it is drawn.
        entities: roster of entities.
        officers: roster of officers.
        committed: commitment to the secret; empty when a beacon alone makes the seed.
        beacon: `{"source", "round"}` of a public random value that comes out later, or None.
        announced_at: RFC 3339.
        draw_not_before: RFC 3339; the draw must not be made earlier. Empty: at any time.
    """
    return {
        "v": VERSION,
        "plan": dict(plan),
        "rules": rules_to_json(rules),
        "entities": entities.digest,
        "officers": officers.digest,
        "commitment": committed,
        "beacon": dict(beacon) if beacon else None,
        "announced_at": announced_at,
        "draw_not_before": draw_not_before,
    }


def rules_to_json(rules: Rules) -> dict[str, Any]:
    """Return rules as they are published."""
    return asdict(rules) | {"tickets": dict(rules.tickets)}


def rules_from_json(members: Mapping[str, Any]) -> Rules:
    """Read published rules back."""
    strata = tuple(
        Stratum(s["name"], tuple(s["risks"]), tuple(s["credits"]), s["per_mille"], s["minimum"])
        for s in members["strata"]
    )
    return Rules(**{**members, "strata": strata})


@dataclass(frozen=True)
class Result:
    """What was drawn."""

    entities: EntityDraw
    assignments: list[Assignment]


def carry_out(rules: Rules, seed: bytes, entities: Roster, officers: Roster) -> Result:
    """Draw entities, then officers for each of them in the order in which they were drawn."""
    rows = list(candidates_of(entities))
    drawn = draw_entities(rules, seed, rows)
    officer_draw = OfficerDraw(rules, seed, inspectors_of(officers))
    return Result(drawn, [officer_draw.draw(*rows[index][:2]) for index in drawn.drawn])


SECTIONS = ("announcement", "entities", "officers", "reveal", "outcomes", "assignments", "summary")
"""The sections of the file, in their order; substitutions follow."""


def sections(
    announcement: Mapping[str, Any], entities: Roster, officers: Roster, reveal: Reveal, result: Result
) -> Iterator[tuple[str, bytes]]:
    """Yield the file piece by piece, each a number of whole lines of one section."""
    sha256 = hashlib.sha256()
    for name, data in _above_summary(announcement, entities, officers, reveal, result):
        sha256.update(data)
        yield name, data
    yield "summary", json_line(summarise(result) | {"sha256": sha256.hexdigest()})


def _above_summary(
    announcement: Mapping[str, Any], entities: Roster, officers: Roster, reveal: Reveal, result: Result
) -> Iterator[tuple[str, bytes]]:
    yield "announcement", json_line(announcement)
    yield "entities", entities.data
    yield "officers", officers.data
    yield "reveal", json_line(asdict(reveal))
    for chunk in _chunks(_outcome_lines(entities, result.entities)):
        yield "outcomes", chunk
    yield "assignments", "".join(_assignment_line(one) for one in result.assignments).encode()


def write_file(
    out: BinaryIO, announcement: Mapping[str, Any], entities: Roster, officers: Roster, reveal: Reveal, result: Result
) -> dict[str, Any]:
    """Write the whole published file; returns the summary."""
    data = b""
    for _, data in sections(announcement, entities, officers, reveal, result):
        out.write(data)
    summary: dict[str, Any] = json.loads(data)
    return summary


def summarise(result: Result) -> dict[str, Any]:
    """Return the figures of a draw."""
    return {
        "strata": [
            {"name": s.name, "size": s.size, "quota": s.quota, "cut": f"{s.cut:016x}"} for s in result.entities.strata
        ],
        "drawn": len(result.entities.drawn),
        "assigned": sum(1 for one in result.assignments if one.officers),
    }


def substitution_line(
    number: int, entity: str, unable: Mapping[str, str], officers: Sequence[str], at: str, above_sha256: str
) -> bytes:
    """Return the line for a substitution.

    Args:
        number: 1 for the first of the file.
        entity: whom the visit is to.
        unable: everybody newly found unable for this visit, with the reason.
        officers: the team from now on.
        at: RFC 3339.
        above_sha256: SHA-256 of the whole file above this line.
    """
    return json_line(
        {
            "substitution": number, "entity": entity, "unable": dict(unable), "officers": list(officers), "at": at,
            "above_sha256": above_sha256,
        }
    )  # fmt: skip


def _outcome_lines(roster: Roster, drawn: EntityDraw) -> Iterator[str]:
    for index, columns in enumerate(roster.rows()):
        outcome, where = drawn.outcome(index)
        yield f"{columns[0]}\t{outcome}\t{where}\t{drawn.best[index]:016x}\n"


def _assignment_line(one: Assignment) -> str:
    refused = ",".join(f"{reason}={count}" for reason, count in one.refused.items())
    return f"{one.entity}\t{','.join(one.officers)}\t{one.eligible}\t{refused}\n"


def _chunks(lines: Iterable[str], size: int = 10_000) -> Iterator[bytes]:
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == size:
            yield "".join(chunk).encode()
            chunk = []
    yield "".join(chunk).encode()


def json_line(value: object) -> bytes:
    """Return a value as a line of the file."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() + b"\n"
