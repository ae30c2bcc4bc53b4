"""Slices follow what a replica computes and holds, and leases are told of more before they need it."""

from __future__ import annotations

from actors.ledger import Ledger
from actors.messages import Account, Hold, Limit
from actors.scheduling.leases import LeaseBook
from actors.scheduling.slices import AHEAD_S, SHARE, Slices
from orchestration.allocation.first_come import FirstCome
from tests.support.lease_books import FIRST, book, successor, task

PLENTY = 1_000_000


def test_nothing_is_said_before_a_pace_is_known() -> None:
    slices = Slices()
    assert slices.size(0, 1) is None
    slices.see(100, busy=1.0)
    assert slices.size(100, 1) is None, "what it had before may be of another life"
    slices.see(100, busy=2.0)
    slices.see(300, busy=2.0)
    assert slices.size(300, 1) is None


def test_a_slice_is_a_time_of_computing_or_a_share_of_what_is_in_hand() -> None:
    slices = Slices()
    slices.see(0, busy=0.0)
    slices.see(8_000, busy=2.0)
    assert slices.pace == 4_000
    assert slices.size(in_hand=0, leases=1) == AHEAD_S * 4_000 + 1
    assert slices.size(in_hand=0, leases=10) == AHEAD_S * 400 + 1
    assert slices.size(in_hand=80_000, leases=10) == SHARE * 8_000 + 1


def test_a_replica_that_waits_is_not_given_ever_less() -> None:
    slices = Slices()
    slices.see(0, busy=0.0)
    sizes = []
    for done in (100, 200, 300, 400):
        # However long it waited between them, it computed for a tenth of a second.
        slices.see(done, busy=done / 1_024)
        sizes.append(slices.size(0, 1))
    assert sizes == [AHEAD_S * 1_024 + 1] * 4


def one_lease(limit: int, used: int, wanted: int = 0, *, granted: int = PLENTY) -> Account:
    return Account(1, granted, used, 0, 0, limit, used, wanted)


def paced(pace: int) -> LeaseBook:
    """A book whose replica computes `pace` FLOPs a second for one lease that was granted plenty."""
    made = LeaseBook(Ledger(10 * PLENTY), FirstCome(FIRST))
    made.add(task(0))
    [lease] = made.lease("a", 1, now=0.0)
    assert (lease.grant, lease.limit) == (FIRST, FIRST), "no pace is known yet"
    made.report(1, 0, 0, lacking=PLENTY - FIRST)
    made.refill()
    assert made.ledger.granted(1) == PLENTY
    made.hear("a", [one_lease(FIRST, 0)], busy=0.0)
    made.hear("a", [one_lease(FIRST, 60)], busy=60 / pace)
    return made


def test_a_lease_is_told_of_more_at_once_and_charged_no_more_than_that() -> None:
    one = paced(pace=400)
    assert one.limits("a") == [Limit(1, 60 + 201)]
    assert one.holds([1]) == [Hold(1, "t0", 1, "a", 261, PLENTY)]
    one.hear("a", [one_lease(261, 100)], busy=0.25)
    assert one.limits("a") == [], "three quarters of its way are left"
    one.hear("a", [one_lease(261, 160)], busy=0.4)
    assert one.limits("a") == [Limit(1, 160 + 201)]
    assert one.lose(1).waste == 361


def test_who_waits_for_more_than_a_slice_gets_it_within_the_grant() -> None:
    one = paced(pace=40)
    one.hear("a", [one_lease(FIRST, 60, wanted=5_000)], busy=1.5)
    assert one.limits("a") == [Limit(1, 5_000)]
    one.hear("a", [one_lease(5_000, 60, wanted=2 * PLENTY)], busy=1.5)
    assert one.limits("a") == [Limit(1, PLENTY)]


def test_a_limit_that_did_not_arrive_is_told_again() -> None:
    one = paced(pace=400)
    for _ in range(2):
        assert one.limits("a") == [Limit(1, 261)]
        one.hear("a", [one_lease(FIRST, 60)], busy=0.15)
    one.hear("a", [one_lease(261, 60)], busy=0.15)
    assert one.limits("a") == []


def test_a_new_lease_begins_with_a_slice_where_the_pace_is_known() -> None:
    one = paced(pace=20)
    one.add(task(1))
    one.add(task(2))
    leases = one.lease("a", 2, now=1.0)
    assert [(lease.grant, lease.limit) for lease in leases] == [(FIRST, 8), (FIRST, 6)]


def test_before_a_pace_is_known_a_lease_may_be_its_first_grant_ahead() -> None:
    """All of its grant would be the worst case of all its requests."""
    one = book(10 * PLENTY, task(0))
    one.lease("a", 1, now=0.0)
    one.report(1, 0, 0, lacking=PLENTY - FIRST)
    one.refill()
    one.hear("a", [one_lease(FIRST, 40)], busy=0.0)
    assert one.limits("a") == [Limit(1, 40 + FIRST)]
    two, _ = successor(one, task(0))
    assert (two.ledger.granted(1), two.ledger.limit(1)) == (PLENTY, 40 + FIRST)
    two.hear("a", [one_lease(40 + FIRST, 140, wanted=300)], busy=0.3)
    assert two.limits("a") == [Limit(1, 300)]


def test_without_a_budget_there_is_no_limit() -> None:
    one = book(None, task(0), first=None)
    [lease] = one.lease("a", 1, now=0.0)
    assert lease.limit is None
    one.hear("a", [Account(1, lease.grant, 0, 0, 0)], busy=0.0)
    one.hear("a", [Account(1, lease.grant, 50, 0, 0)], busy=1.0)
    assert one.limits("a") == []
