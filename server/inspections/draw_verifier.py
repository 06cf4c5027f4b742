"""Reproduces a published draw from its file alone. Standard library only; written apart from what made the file.

Run it anywhere: `python draw_verifier.py FILE`. It trusts nothing in the file but the announcement, and that one only
if it is the one that was published beforehand: compare its SHA-256, which is printed first, with the publication.
The format is explained at the top of `draw_file.py`, the rules at the top of `draw.py`.
"""

import hashlib
import itertools
import json
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

VERSION = "fieldproof-draw-v1"
TICKET = b"fieldproof-draw-ticket-v1\n"
MAX_LINE_BYTES = 1024 * 1024


class DrawError(Exception):
    """the file is not what its announcement leads to"""


def main(arguments: list[str]) -> int:
    """Verify the file named on the command line; returns the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: draw_verifier.py FILE\n")
        return 2
    try:
        report = verify(Path(arguments[0]))
    except (DrawError, OSError) as error:
        sys.stderr.write(f"不符 NOT reproduced: {error}\n")
        return 1
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in report.items()))
    return 0


def verify(path: Path) -> dict[str, Any]:
    """Draw again by the announced rules and compare every line.

    Returns:
        Figures for people: hash of the announcement, entities, excluded, drawn, assigned.

    Raises:
        DrawError: naming the first line that differs.
    """
    with path.open("rb") as stream:
        lines = _Lines(stream)
        announcement = lines.json("announcement")
        digest = lines.sha256.hexdigest()
        if announcement.get("v") != VERSION:
            raise DrawError(f"line 1: the version is not {VERSION}")
        try:
            return {"announcement": digest, **_verify(announcement, lines)}
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DrawError(f"line {lines.number}: malformed ({error})") from error


class _Lines:
    """The lines of the file, hashed as they are read."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - any binary stream
        self.stream, self.number, self.sha256 = stream, 0, hashlib.sha256()

    def next(self) -> bytes:
        line: bytes = self.stream.readline(MAX_LINE_BYTES)
        self.number += 1
        if not line.endswith(b"\n"):
            raise DrawError(f"line {self.number}: the file ends too early, or the line is too long")
        self.sha256.update(line)
        return line

    def json(self, what: str) -> dict[str, Any]:
        try:
            value = json.loads(self.next())
        except ValueError as error:
            raise DrawError(f"line {self.number}: the {what} is not JSON") from error
        if not isinstance(value, dict):
            raise DrawError(f"line {self.number}: the {what} is not an object")
        return value

    def roster(self, declared: dict[str, Any], what: str) -> list[list[str]]:
        digest = hashlib.sha256()
        rows = []
        for _ in range(declared["count"]):
            line = self.next()
            digest.update(line)
            rows.append(line[:-1].decode().split("\t"))
        if digest.hexdigest() != declared["sha256"]:
            raise DrawError(f"the roster of {what} is not the announced one")
        return rows

    def at_end(self) -> bool:
        return not self.stream.peek(1)

    def expect(self, text: str, what: str) -> None:
        if self.next() != text.encode() + b"\n":
            raise DrawError(f"line {self.number}: the {what} should read {text!r}")


def _verify(announcement: dict[str, Any], lines: _Lines) -> dict[str, Any]:
    rules = announcement["rules"]
    entities = lines.roster(announcement["entities"], "entities")
    officers = lines.roster(announcement["officers"], "officers")
    reveal = lines.json("reveal")
    seed = _seed(announcement, reveal)
    earliest = announcement.get("draw_not_before")
    if earliest and datetime.fromisoformat(reveal["drawn_at"]) < datetime.fromisoformat(earliest):
        raise DrawError("the draw was made earlier than announced")
    outcomes, strata, drawn = _draw_entities(rules, seed, entities)
    for row, (outcome, where, ticket) in zip(entities, outcomes, strict=True):
        lines.expect(f"{row[0]}\t{outcome}\t{where}\t{ticket:016x}", "outcome")
    teams_drawn: list[list[str]] = []
    load = {row[0]: int(row[5]) for row in officers}
    for row in drawn:
        team, eligible, refused = _draw_officers(rules, seed, row, officers, load)
        teams_drawn.append(team)
        reasons = ",".join(f"{reason}={refused[reason]}" for reason in sorted(refused))
        lines.expect(f"{row[0]}\t{','.join(team)}\t{eligible}\t{reasons}", "assignment")
    above, assigned = lines.sha256.hexdigest(), sum(map(bool, teams_drawn))
    summary = {"strata": strata, "drawn": len(drawn), "assigned": assigned, "sha256": above}
    if lines.json("summary") != summary:
        raise DrawError("the summary does not say what was drawn")
    teams = {row[0]: team for row, team in zip(drawn, teams_drawn, strict=True)}
    substituted = _substitutions(rules, seed, {row[0]: row for row in drawn}, teams, officers, load, lines)
    left_out = sum(1 for outcome, _, _ in outcomes if outcome == "excluded")
    return {"entities": len(entities), "excluded": left_out, "drawn": len(drawn), "assigned": assigned} | (
        {"substitutions": substituted} if substituted else {}
    )


def _substitutions(
    rules: dict[str, Any],
    seed: bytes,
    rows: dict[str, list[str]],
    teams: dict[str, list[str]],
    officers: list[list[str]],
    load: dict[str, int],
    lines: _Lines,
) -> int:
    """Draw again for officers who became unable, line by line to the end of the file; returns how many lines."""
    unable: dict[str, set[str]] = {}
    number = 0
    while not lines.at_end():
        number += 1
        above = lines.sha256.hexdigest()
        found = lines.json("substitution")
        entity, told = found["entity"], found["unable"]
        if entity not in teams or not told or not all(told.values()):
            raise DrawError(f"line {lines.number}: no drawn entity, or nobody unable for a reason")
        unable.setdefault(entity, set()).update(told)
        team = _replace(rules, seed, rows[entity], teams[entity], unable[entity], officers, load)
        expected = {
            "substitution": number, "entity": entity, "unable": told, "officers": team, "at": found["at"],
            "above_sha256": above,
        }  # fmt: skip
        if found != expected or team == teams[entity]:
            raise DrawError(f"line {lines.number}: the substitution should name {team}")
        teams[entity] = team
    return number


def _replace(
    rules: dict[str, Any],
    seed: bytes,
    row: list[str],
    team: list[str],
    unable: set[str],
    officers: list[list[str]],
    load: dict[str, int],
) -> list[str]:
    """Return the team once those who are unable were replaced: by the best tickets among who may go."""
    avoids = {officer[0]: set(officer[7].split(",")) for officer in officers}
    free, _ = _free(rules, row, [one for one in officers if one[0] not in unable and one[0] not in team], load)
    staying = [officer for officer in team if officer not in unable]
    for new in itertools.combinations(_ranked(rules, seed, row[0], free, load), rules["officers"] - len(staying)):
        whole = [*staying, *new]
        if not any(a in avoids[b] or b in avoids[a] for a, b in itertools.combinations(whole, 2)):
            for officer in team:
                load[officer] -= officer in unable
            for officer in new:
                load[officer] += 1
            return whole
    return team


def _seed(announcement: dict[str, Any], reveal: dict[str, Any]) -> bytes:
    secret, value = reveal["secret"], reveal["beacon_value"]
    if not announcement["commitment"] and not announcement["beacon"]:
        raise DrawError("the announcement binds the seed to nothing")
    committed = hashlib.sha256(f"fieldproof-draw-commitment-v1\n{secret}".encode()).hexdigest()
    if announcement["commitment"] != (committed if secret else ""):
        raise DrawError("the secret is not the one committed to")
    if bool(announcement["beacon"]) != bool(value):
        raise DrawError("the beacon's value and its announcement do not go together")
    return hashlib.sha256(f"fieldproof-draw-seed-v1\n{secret}\n{value}".encode()).digest()


def _best_ticket(seed: bytes, text: str, count: int) -> int:
    digest = hashlib.sha512(TICKET + seed + text.encode()).digest()
    return max(int.from_bytes(digest[8 * i : 8 * i + 8], "big") for i in range(count))


def _draw_entities(
    rules: dict[str, Any], seed: bytes, entities: list[list[str]]
) -> tuple[list[tuple[str, str, int]], list[dict[str, Any]], list[list[str]]]:
    """Return outcome, stratum or reason, and best ticket of each line; the strata; and the lines drawn, in order."""
    found: list[tuple[str, str, int]] = []
    members: dict[str, list[tuple[int, int]]] = {stratum["name"]: [] for stratum in rules["strata"]}
    by_grades: dict[tuple[str, str], str] = {}
    for stratum in rules["strata"]:
        for grades in itertools.product(stratum["risks"], stratum["credits"]):
            by_grades.setdefault(grades, stratum["name"])
    for index, (entity, _, risk, credit, visits, own_reason) in enumerate(entities):
        name = by_grades.get((risk, credit))
        count = rules["tickets"].get(credit, 0)
        if own_reason:
            found.append(("excluded", own_reason, 0))
        elif name is None:
            found.append(("excluded", "no-stratum", 0))
        elif count == 0:
            found.append(("excluded", "no-tickets", 0))
        elif int(visits) >= rules["visits_cap"]:
            found.append(("excluded", "frequency-cap", 0))
        else:
            ticket = _best_ticket(seed, entity, count)
            members[name].append((-ticket, index))
            found.append(("passed-over", name, ticket))
    strata, drawn = [], []
    for rule in rules["strata"]:
        ranked = sorted(members[rule["name"]])
        by_rate = (len(ranked) * rule["per_mille"] + 999) // 1000
        quota = min(len(ranked), max(rule["minimum"], by_rate))
        for _, index in ranked[:quota]:
            found[index] = ("drawn", *found[index][1:])
            drawn.append(entities[index])
        cut = -ranked[quota - 1][0] if quota else 0
        strata.append({"name": rule["name"], "size": len(ranked), "quota": quota, "cut": f"{cut:016x}"})
    return found, strata, drawn


def _draw_officers(
    rules: dict[str, Any], seed: bytes, row: list[str], officers: list[list[str]], load: dict[str, int]
) -> tuple[list[str], int, Counter[str]]:
    """Return the officers drawn for an entity, how many could go, and the refused by reason."""
    free, refused = _free(rules, row, officers, load)
    avoids = {officer[0]: set(officer[7].split(",")) for officer in free}
    for team in itertools.combinations(_ranked(rules, seed, row[0], free, load), rules["officers"]):
        if not any(a in avoids[b] or b in avoids[a] for a, b in itertools.combinations(team, 2)):
            for officer in team:
                load[officer] += 1
            return list(team), len(free), refused
    return [], len(free), refused


def _free(
    rules: dict[str, Any], row: list[str], officers: list[list[str]], load: dict[str, int]
) -> tuple[list[list[str]], Counter[str]]:
    """Return the officers of the place who may go, and the refused by reason."""
    entity, region = row[0], row[1]
    refused: Counter[str] = Counter()
    free = []
    for line in officers:
        officer, place, since, until, scope, _, capacity, avoids = line
        if not region.startswith(place):
            continue
        if since > rules["visits_from"] or until < rules["visits_until"]:
            refused["certificate-expired"] += 1
        elif scope and rules["sector"] not in scope.split(","):
            refused["out-of-scope"] += 1
        elif entity in avoids.split(","):
            refused["avoidance"] += 1
        elif load[officer] >= int(capacity):
            refused["at-capacity"] += 1
        else:
            free.append(line)
    return free, refused


def _ranked(rules: dict[str, Any], seed: bytes, entity: str, free: list[list[str]], load: dict[str, int]) -> list[str]:
    """Return officers in the order in which they are drawn: the least loaded first, then by ticket."""
    least = min((load[one[0]] for one in free), default=0)

    def order(officer: str) -> tuple[int, int, str]:
        ahead = max(0, load[officer] - least - rules["load_slack"])
        return ahead, -_best_ticket(seed, f"{entity}\n{officer}", 1), officer

    return sorted((one[0] for one in free), key=order)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
