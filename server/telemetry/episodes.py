"""Looking at a part of the past again: which stretch to see anew, and what becomes of the recorded episodes. Pure.

The episodes that stand are always those that the rule finds in the data as they are now, whatever came when: looking at
a stretch again begins where the machine was idle and ends where nothing that changed can reach. A recorded episode that
is found again keeps its name, and so its lead; one that is not is withdrawn; one that was withdrawn may stand again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from server.telemetry.rules import Episode, Mean, Rule, State, advance

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
LOOK_BACK = timedelta(days=31)
"""How far a search goes back to where an episode was confirmed; one that has lasted longer is taken as it is."""
LOOK_AHEAD = timedelta(days=366)
"""How far behind the changed data an episode is followed at most."""


@dataclass(frozen=True, slots=True)
class Known:
    """A recorded episode: of which version of the rule, and whether the data did not support it any more."""

    episode: Episode
    rule_id: str
    withdrawn: bool = False

    def active(self, at: datetime) -> bool:
        """Tell whether the machine was within this episode when it came to a data time."""
        ended_at = self.episode.ended_at
        return self.episode.confirmed_at < at and (ended_at is None or at <= ended_at)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a search begins: values from `warm_from` on fill the window, from `since` on they may confirm."""

    warm_from: datetime
    since: datetime
    episode: Episode | None = None
    """The one that lasts already, where it is older than :data:`LOOK_BACK`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one episode; its `key` is empty while it has no name yet."""

    episode: Episode
    opened: bool = False
    withdrawn: bool = False


def start_of(rule: Rule, first: datetime, standing: Sequence[Known], horizon: datetime = BEGINNING) -> Start:
    """Return where to begin so that everything from `first` on is found as if from the very beginning.

    Args:
        rule: the rule.
        first: the earliest data time that changed.
        standing: the recorded episodes of this version that stand.
        horizon: before this nothing is kept that could be looked at; `first` must not lie before it.
    """
    since, seed, reach = first, None, max(first, BEGINNING + LOOK_BACK) - LOOK_BACK
    for known in sorted(standing, key=lambda known: known.episode.confirmed_at, reverse=True):
        if known.active(since):
            if known.episode.confirmed_at < max(reach, horizon):
                seed = replace(known.episode, ended_at=None, last_at=min(known.episode.last_at, since - rule.step))
            else:
                since = known.episode.confirmed_at
    ends = [known.episode.ended_at for known in standing if known.episode.ended_at is not None]
    ended = max((at for at in ends if at < since), default=since - rule.window)
    return Start(max(since - rule.window, ended), since, seed)


def find(rule: Rule, start: Start, means: Iterable[Mean], until: datetime) -> tuple[State, list[Episode]]:
    """Run the machine over a rule's values; return its last state, and the episodes from the start on in order.

    Args:
        rule: the rule.
        start: where to begin.
        means: the values from `start.warm_from` to `until`, in order of time.
        until: how far the data are complete: silence up to here ends an episode.
    """
    state = State(episode=start.episode)
    found: dict[datetime, Episode] = {}
    for mean in means:
        if mean.at < start.since:
            if start.episode is None:
                since = mean.at - rule.window + rule.step
                state = State(mean.at, (*(old for old in state.window if old.at >= since), mean))
            continue
        state, changes = advance(rule, state, mean)
        for episode in changes:
            found[episode.started_at] = episode
    last = state.episode
    if last is not None:
        if last.last_at + rule.silence < until:
            last = replace(last, ended_at=last.last_at + rule.silence)
            state = State(state.position)
        found[last.started_at] = last
    return state, [found[at] for at in sorted(found)]


def settled_at(rule: Rule, last: datetime, episodes: Iterable[Episode], until: datetime) -> datetime | None:
    """Return from when on nothing found so far can change what follows, or None if an episode lasts beyond `until`."""
    quiet_from = last
    for episode in episodes:
        if episode.ended_at is None or episode.ended_at > until:
            return None
        quiet_from = max(quiet_from, episode.ended_at)
    return quiet_from + rule.window


def reconcile(
    rule: Rule, found: Sequence[Episode], recorded: Sequence[Known], start: Start, until: datetime
) -> list[Verdict]:
    """Say what becomes of the episodes found, and of the recorded ones that were not found again.

    Args:
        rule: the rule's version that was run.
        found: its episodes between `start` and `until`, in order.
        recorded: the recorded episodes of all versions of the rule at the sensor.
        start: where the search began.
        until: where it ended.
    """
    left = sorted(recorded, key=lambda known: (known.withdrawn, known.rule_id != rule.id, known.episode.started_at))
    verdicts: list[Verdict] = []
    for episode in found:
        match = next((known for known in left if _touch(known.episode, episode)), None)
        if match is None:
            verdicts.append(Verdict(episode, opened=True))
            continue
        left.remove(match)
        now = replace(episode, key=match.episode.key)
        if now != match.episode or match.withdrawn or match.rule_id != rule.id:
            verdicts.append(Verdict(now))
    for known in left:
        mine = known.rule_id == rule.id and not known.withdrawn
        if mine and (start.since <= known.episode.confirmed_at <= until or known.active(start.since)):
            gone = replace(known.episode, ended_at=known.episode.ended_at or known.episode.last_at)
            verdicts.append(Verdict(gone, withdrawn=True))
    return verdicts


def _touch(one: Episode, other: Episode) -> bool:
    return one.started_at <= other.last_at and other.started_at <= one.last_at
