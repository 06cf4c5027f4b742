"""Plans of visits: the same for both officers, from seed and key alone."""

from device_sim.handheld.visit import Role, VisitPlan, other_code, plan_visit


def test_both_officers_come_to_the_same_plan() -> None:
    """The plan depends on seed and key alone."""
    plans = [plan_visit("7", f"key {n}") for n in range(200)]
    assert plans == [plan_visit("7", f"key {n}") for n in range(200)]
    assert plans != [plan_visit("8", f"key {n}") for n in range(200)]


def test_shares_are_kept() -> None:
    """About two in five are pairs, few of which contradict, and never on a visit of one handheld."""
    plans = [plan_visit("7", f"key {n}") for n in range(5000)]
    pairs = [plan for plan in plans if plan.paired]
    assert 0.36 < len(pairs) / len(plans) < 0.44
    contradicting = [plan for plan in plans if plan.contradicts]
    assert 0.04 < len(contradicting) / len(plans) < 0.08
    assert all(plan.paired for plan in contradicting)
    assert {plan.contradicts for plan in contradicting} == {("result",), ("conclusion",), ("result", "conclusion")}
    assert {plan.photos for plan in plans} == {1, 2}


def test_shares_can_be_set() -> None:
    """None and all are possible."""
    assert not any(plan_visit("7", str(n), 0.0, 1.0).paired for n in range(50))
    assert all(plan_visit("7", str(n), 1.0, 1.0).contradicts for n in range(50))
    assert not any(plan_visit("7", str(n), 1.0, 0.0).contradicts for n in range(50))


def test_roles_share_the_parts_of_a_visit() -> None:
    """Alone, the lead officer's handheld does everything; in a pair each does its own part."""
    alone, pair = VisitPlan(False, (), 1), VisitPlan(True, (), 1)
    assert [alone.works(Role.LEAD), alone.works(Role.SECOND), pair.works(Role.SECOND)] == [True, False, True]
    assert alone.does(Role.LEAD, Role.SECOND)
    assert not pair.does(Role.LEAD, Role.SECOND)
    assert pair.does(Role.SECOND, Role.SECOND)


def test_another_code_always_differs() -> None:
    """The contradicting code is never the one it contradicts."""
    for taken in ("01", "02", "03", "99"):
        assert other_code(("01", "03"), taken) != taken
