"""Explaining one entity's part in a draw from the published file alone, read line by line. Pure."""

import json
from typing import BinaryIO

from server.inspections.draw import DRAWN
from server.inspections.draw_file import rules_from_json
from server.inspections.draw_words import both, entity_words, refusal_words


def explain_entity(stream: BinaryIO, entity: str) -> list[str]:
    """Return sentences on an entity: why it was drawn or not, who goes, and why others of the place do not.

    Args:
        stream: the published file.
        entity: its id.

    Returns:
        The sentences; none when the entity was not in the roster.

    Raises:
        ValueError, KeyError, IndexError: it is no such file.
    """
    announcement = json.loads(stream.readline())
    start = f"{entity}\t".encode()
    found: list[list[str]] = []
    summary: bytes = b""
    for line in stream:
        if line.startswith(start):
            found.append(line.decode().rstrip("\n").split("\t"))
        elif line.startswith(b'{"assigned"'):
            summary = line
    if not found:
        return []
    cuts = {one["name"]: int(one["cut"], 16) for one in json.loads(summary)["strata"]}
    (_, _, _, credit, visits, _), (_, outcome, where, best) = found[:2]
    words = entity_words(
        rules_from_json(announcement["rules"]), outcome, where, int(best, 16), credit=credit, visits=int(visits),
        cut=cuts.get(where, 0),
    )  # fmt: skip
    sentences = [both(*words)]
    if outcome == DRAWN:
        _, officers, eligible, refused = found[2]
        sentences.append(
            both(f"可派人员 {eligible} 名，抽中：{officers}", f"{eligible} officers could go; drawn: {officers}")
        )
        for pair in filter(None, refused.split(",")):
            reason, _, count = pair.partition("=")
            sentences.append(f"{count} × {both(*refusal_words(reason))}")
    return sentences
