"""Pushing: whole segments, byte for byte again until the receipts are in."""

import json

import httpx
import pytest

from device_sim.handheld.client import Handheld
from device_sim.handheld.damaged import is_whole
from device_sim.handheld.link import Refused, Unreachable
from device_sim.handheld.push import Pusher
from sync.acts import ActParts
from sync.dots import Dot
from sync.journal import parse_segment_head
from tests.unit.device_sim.handheld.conftest import (
    INSPECTION,
    FakePlatform,
    OpenHandheld,
    an_id,
    lost,
    passed,
    problem,
)

PUSH = "/api/v1/sync/push"


def write(handheld: Handheld, *texts: str) -> None:
    """Write one act a text."""
    for text in texts:
        handheld.write(handheld.open("inspection", INSPECTION), {"scene": text})


def pusher(handheld: Handheld, acts: int) -> Pusher:
    """The handheld's pusher with small segments."""
    made = handheld._pusher()
    made.segment_acts = acts
    return made


def test_everything_is_pushed_in_segments(handheld: Handheld, platform: FakePlatform) -> None:
    """Segments follow one another without gap; each receipt is kept as it came."""
    write(handheld, *"abcde")
    assert pusher(handheld, 2).push() == 5
    heads = [parse_segment_head(json.loads(body.split(b"\n")[0])) for body in platform.sent("POST", PUSH)]
    assert [(head.first, head.last) for head in heads] == [(1, 2), (3, 4), (5, 5)]
    journal = handheld.store.journals()[0]
    assert handheld.store.receipts(journal) == [platform.stored[journal, seq] for seq in range(1, 6)]
    assert handheld.store.pending_count() == 0
    assert pusher(handheld, 2).push() == 0


def test_segments_stay_below_their_size(handheld: Handheld, platform: FakePlatform) -> None:
    """A segment ends before it grows past its bytes, but holds at least one act."""
    write(handheld, *(letter * 2000 for letter in "abcd"))
    made = pusher(handheld, 100)
    made.segment_bytes = 6000
    made.push()
    assert [body.count(b"\n") - 1 for body in platform.sent("POST", PUSH)] == [2, 2]
    write(handheld, "x" * 3000)
    made.segment_bytes = 10
    assert made.push() == 1


def test_a_lost_reply_is_answered_by_the_same_receipts(handheld: Handheld, platform: FakePlatform) -> None:
    """The retry carries the same bytes, and the first receipts stand."""
    write(handheld, "a", "b")
    platform.after = [lost, lost]
    handheld.push()
    first, second, third = platform.sent("POST", PUSH)
    assert first == second == third
    assert handheld.counts["retries"] == 2


def test_an_act_that_was_damaged_on_the_way_is_sent_again_once(handheld: Handheld, platform: FakePlatform) -> None:
    """In a segment by itself, and only where the handheld has it whole."""
    write(handheld, "a", "b")
    journal = handheld.store.journals()[0]
    act = handheld.store.acts(journal)[0]
    receipt = {"journal": journal, "seq": 1, "act": act.hash, "verdict": "quarantined", "position": 0}
    fault = {"code": "invalid-field", "field": "body"}
    platform.stored[journal, 1] = json.dumps(receipt | {"problem": fault}).encode()
    for _ in range(2):
        handheld.push()
    heads = [parse_segment_head(json.loads(body.split(b"\n")[0])) for body in platform.sent("POST", PUSH)]
    assert [(head.first, head.last) for head in heads] == [(1, 2), (1, 1)]
    assert is_whole(act.parts)
    assert not is_whole(ActParts(act.parts.header, b"{}", b""))


def test_an_act_that_was_found_damaged_later_is_sent_again_once(handheld: Handheld, platform: FakePlatform) -> None:
    """Beyond a gap it was held; its status names the part when the gap is filled. Other faults are no damage."""
    write(handheld, "a", "b", "c")
    handheld.push()
    journal = handheld.store.journals()[0]
    with handheld.saving():
        for seq in (2, 3):
            handheld.store.set_status(Dot(journal, seq), "held", 0)
    fault = {"code": "invalid-field", "field": "personal"}
    platform.statuses = [
        {"seq": 2, "status": "quarantined", "position": 60, "problem": fault},
        {"seq": 3, "status": "quarantined", "position": 61, "problem": fault | {"field": "scene"}},
    ]
    assert handheld.refresh_statuses() == 2
    for _ in range(2):
        handheld.push()
    heads = [parse_segment_head(json.loads(body.split(b"\n")[0])) for body in platform.sent("POST", PUSH)]
    assert [(head.first, head.last) for head in heads] == [(1, 3), (2, 2)]


def test_a_killed_handheld_sends_the_same_bytes_after_its_restart(
    open_handheld: OpenHandheld, handheld: Handheld, platform: FakePlatform
) -> None:
    """The segment that was begun is remembered with its signature, clocks included."""
    write(handheld, "a", "b")
    platform.after = [lost] * 12
    with pytest.raises(Unreachable):
        handheld.push()
    restarted = open_handheld()
    write(restarted, "c")
    platform.after = []
    assert restarted.push() == 3
    bodies = platform.sent("POST", PUSH)
    assert bodies[0] == bodies[-2]
    assert bodies[-1] != bodies[0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(b'"applied"', b'"applied'),
        lambda text: b"\n".join(text.split(b"\n")[:-2]) + b"\n",
        lambda text: text.replace(b'"seq": 1', b'"seq": 2', 1),
        lambda text: text.replace(b'"position"', b'"place"'),
    ],
    ids=["last byte cut", "cut in half", "no JSON", "a receipt missing", "another act", "no receipt"],
)
def test_replies_that_do_not_answer_the_segment_are_not_believed(
    handheld: Handheld, platform: FakePlatform, spoil: object
) -> None:
    """Cut, garbled or foreign receipts confirm nothing; the next attempt does."""
    write(handheld, "a", "b")
    plain = platform._push

    def once(body: bytes) -> httpx.Response:
        platform._push = plain  # type: ignore[method-assign]
        return httpx.Response(200, content=spoil(plain(body).content))  # type: ignore[operator]

    platform._push = once  # type: ignore[method-assign]
    assert handheld.push() == 2
    assert handheld.counts["retries"] == 1


def test_refusals_of_the_whole_request_are_raised(handheld: Handheld, platform: FakePlatform) -> None:
    """A segment the platform does not take stays pending."""
    write(handheld, "a")
    platform.before = [passed, lambda _request: problem(400, "bad-signature")]
    with pytest.raises(Refused, match="bad-signature"):
        handheld.push()
    assert handheld.store.pending_count() == 1


def test_a_fork_is_resolved_by_a_journal_with_a_parent(
    open_handheld: OpenHandheld, handheld: Handheld, platform: FakePlatform
) -> None:
    """The divergent act goes up in a new journal that names the last common act; nothing is lost."""
    write(handheld, "a", "b")
    handheld.push()
    journal = handheld.store.journals()[0]
    for seq in (3, 4):  # acts of the life that a restored backup does not know
        platform.hashes[journal, seq] = "f" * 64
    write(handheld, "c", "d")
    handheld.push()
    fresh = handheld.store.journals()[1]
    head = parse_segment_head(json.loads(platform.sent("POST", PUSH)[-1].split(b"\n")[0]))
    assert head.parent is not None
    assert (head.journal, head.parent.journal, head.parent.seq) == (fresh, journal, 2)
    assert handheld.counts["forks"] == 1
    assert handheld.store.pending_count() == 0


def test_a_fork_far_back_is_found_step_by_step(handheld: Handheld, platform: FakePlatform) -> None:
    """When the refusal names an act before the segment, the device pushes older ones until the place is exact."""
    write(handheld, *"abcdef")
    pusher(handheld, 2).push()
    journal = handheld.store.journals()[0]
    for seq in range(2, 8):
        platform.hashes[journal, seq] = "e" * 64
    write(handheld, "g")
    pusher(handheld, 2).push()
    fresh = handheld.store.journals()[1]
    parent = handheld.store.parent_of(fresh)
    assert parent is not None
    assert parent.seq == 1
    assert len(handheld.store.acts(fresh)) == 6
    assert handheld.store.pending_count() == 0


def test_endless_forks_are_given_up(
    handheld: Handheld, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform that always sees a fork is not asked for ever."""
    monkeypatch.setattr("device_sim.handheld.push.MAX_FORKS", 3)
    write(handheld, "a")
    platform.before = [passed] + [lambda _request: problem(409, "journal-fork")] * 9
    with pytest.raises(Refused, match="journal-fork"):
        handheld.push()
    assert len(handheld.store.journals()) == 4


def test_a_new_epoch_pushes_again_what_the_restored_platform_lost(handheld: Handheld, platform: FakePlatform) -> None:
    """After a restore, everything beyond the platform's head of the journal goes up again."""
    write(handheld, *"abc")
    handheld.push()
    journal = handheld.store.journals()[0]
    receipts = handheld.store.receipts(journal)
    for seq in (2, 3):
        del platform.stored[journal, seq], platform.hashes[journal, seq]
    platform.epoch = an_id(13)
    handheld.pull()
    assert handheld.store.pending_count() == 2
    assert handheld.push() == 2
    assert handheld.store.receipts(journal) == receipts, "first receipts stand"
    assert handheld.counts["epochs_changed"] == 1
    handheld.pull()
    assert handheld.counts["epochs_changed"] == 1


def test_statuses_follow_from_where_they_were_left(handheld: Handheld, platform: FakePlatform) -> None:
    """Each change of status is taken in once, by position."""
    write(handheld, *"abc")
    handheld.push()
    platform.statuses = [
        {"seq": 1, "status": "merged", "position": 60, "problem": None},
        {"seq": 2, "status": "conflict", "position": 61, "problem": None},
    ]
    assert handheld.refresh_statuses() == 2
    assert handheld.refresh_statuses() == 0
    assert handheld.store.act_counts() == {"merged": 1, "conflict": 1, "applied": 1}


def test_a_journal_unknown_to_the_platform_has_no_statuses(handheld: Handheld, platform: FakePlatform) -> None:
    """Not found is an answer, other refusals are raised, and unreadable answers are asked for again."""
    write(handheld, "a")
    platform.before = [passed, lambda _request: problem(404, "not-found")]
    assert handheld.refresh_statuses() == 0
    platform.before = [lambda _request: problem(403, "forbidden")]
    with pytest.raises(Refused):
        handheld.refresh_statuses()
    platform.before = [lambda _request: httpx.Response(200, content=b"{}\n")]
    assert handheld.refresh_statuses() == 0
    assert handheld.counts["retries"] == 1
