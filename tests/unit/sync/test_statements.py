"""What devices sign: exact bytes, and no statement that can serve as another."""

from sync.statements import (
    JournalHead,
    enrol_statement,
    key_statement,
    share_statement,
    sign_in_statement,
    wiped_statement,
)
from tests.unit.sync.histories import journal

D, OFFICER, J, K = (journal(number) for number in range(1, 5))


def test_exact_bytes() -> None:
    """Lines joined by line feeds, none at the end; the heads in order of journal."""
    assert sign_in_statement(D, 5, "bm9uY2U") == f"fieldproof-sign-in-v1\n{D}\n5\nbm9uY2U".encode()
    assert enrol_statement("cHVibGlj", OFFICER) == f"fieldproof-enrol-v1\ncHVibGlj\n{OFFICER}".encode()
    heads = [JournalHead(K, 2, "b" * 64), JournalHead(J, 7, "a" * 64)]
    expected = f"fieldproof-key-v1\n{D}\nb2xk\nbmV3\n{J}:7:{'a' * 64}\n{K}:2:{'b' * 64}"
    assert key_statement(D, "b2xk", "bmV3", heads) == expected.encode()
    assert key_statement(D, "b2xk", "bmV3", []) == f"fieldproof-key-v1\n{D}\nb2xk\nbmV3".encode()
    assert share_statement(D, OFFICER) == f"fieldproof-share-v1\n{D}\n{OFFICER}".encode()
    assert wiped_statement(D, 9, 2, 1) == f"fieldproof-wiped-v1\n{D}\n9\n2\n1".encode()


def test_each_statement_has_a_domain_of_its_own() -> None:
    """The first lines differ, so one signature can never serve as another."""
    statements = (
        sign_in_statement(D, 5, "x"), enrol_statement("x", D), key_statement(D, "x", "y", ()), share_statement(D, D),
        wiped_statement(D, 1, 0, 0),
    )  # fmt: skip
    assert len({statement.split(b"\n")[0] for statement in statements}) == len(statements)
