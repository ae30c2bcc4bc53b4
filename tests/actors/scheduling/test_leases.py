"""Every task is queued, leased or ended, and ends once, whatever replicas do; who is refused, and when."""

from __future__ import annotations

from dataclasses import replace

from actors.ledger import Ledger
from actors.messages import Account, Grant, Hold, Limit
from actors.scheduling.leases import MAX_ATTEMPTS, LeaseBook
from orchestration.allocation.first_come import FirstCome
from tests.support.lease_books import FIRST, ByWidth, InLumps, answers, book, numbers, successor, task


def test_leases_cover_the_sequences_wanted_and_no_more() -> None:
    one = book(None, *(task(i, 4, 2) for i in range(100)), first=None)
    leases = one.lease("a", 13, now=0.0, replicas=2)
    assert numbers(leases) == [0, 1, 2]
    assert [(lease.id, lease.attempt) for lease in leases] == [(1, 1), (2, 1), (3, 1)]
    assert one.held_by("a") == (1, 2, 3)
    assert one.lease("a", 0, now=0.0) == []
    assert (one.queued, one.leased) == (97, 3)


def test_towards_the_end_a_replica_gets_its_share_alone() -> None:
    one = book(None, *(task(i) for i in range(40)), first=None)
    sizes = []
    while one.queued:
        sizes.append(len(one.lease("ab"[len(sizes) % 2], 1_000, now=0.0, replicas=2)))
    assert sizes == [10, 8, 6, 4, 3, 3, 2, 1, 1, 1, 1]


def test_a_lone_replica_gets_all_it_can_carry() -> None:
    one = book(None, *(task(i) for i in range(40)), first=None)
    assert len(one.lease("a", 1_000, now=0.0, replicas=1)) == 40


def test_the_budget_limits_how_many_start() -> None:
    one = book(250, *(task(i) for i in range(5)))
    assert len(one.lease("a", 10, now=0.0)) == 2
    assert one.lease("a", 10, now=0.0) == []
    assert one.starve() == [], "what runs may give back enough"
    one.settle(1, 40)
    assert numbers(one.lease("a", 10, now=0.0)) == [2]
    one.settle(2, 100)
    one.settle(3, 90)
    assert [t.id for t in one.starve()] == ["t3", "t4"]
    assert (one.queued, one.leased, one.ledger.free) == (0, 0, 20)


def test_only_tasks_that_can_never_start_starve() -> None:
    one = LeaseBook(Ledger(25), ByWidth())
    for number, width in enumerate((3, 1, 4, 1)):
        one.add(task(number, width))
    assert one.lease("a", 10, now=0.0) == []
    assert [t.id for t in one.starve()] == ["t0", "t2"]
    assert one.starve() == []
    assert numbers(one.lease("a", 10, now=0.0)) == [1, 3]


def test_what_a_lease_lacks_is_granted_to_its_replica_once() -> None:
    allocator = ByWidth()
    one = LeaseBook(Ledger(100), allocator)
    one.add(task(0, 2))
    one.add(task(1, 1))
    one.lease("a", 2, now=0.0)
    one.lease("b", 1, now=0.0)
    assert answers(one) == {}
    one.report(1, spent=15, reserved=5, lacking=30)
    one.report(2, spent=0, reserved=10, lacking=0)
    assert answers(one) == {"a": [Grant(1, 50)]}
    assert allocator.asked == [("t0", 30, 20, 70)]
    assert answers(one) == {}
    assert one.ledger.free == 40


def test_grants_are_told_as_totals_and_once() -> None:
    one = LeaseBook(Ledger(200), ByWidth())
    one.add(task(0, 2))
    [lease] = one.lease("a", 2, now=0.0)
    assert (lease.grant, one.grants("a")) == (20, []), "the lease itself tells of the first grant"
    for lacking in (30, 45):
        one.report(1, 15, 5, lacking)
        one.refill()
    assert one.grants("b") == []
    assert one.grants("a") == [Grant(1, 20 + 30 + 45)]
    assert one.grants("a") == []


def test_what_was_granted_while_a_report_was_under_way_is_not_granted_again() -> None:
    allocator = ByWidth()
    one = LeaseBook(Ledger(200), allocator)
    one.add(task(0, 2))
    one.lease("a", 2, now=0.0)
    one.report(1, 15, 5, lacking=30, granted=20)
    one.refill()
    # Written before the 30 reached it: one request more of 20 has come to wait there.
    one.report(1, 15, 5, lacking=50, granted=20)
    one.refill()
    assert [asked for _, asked, _, _ in allocator.asked] == [30, 20]
    assert one.grants("a") == [Grant(1, 70)]
    one.report(1, 15, 5, lacking=50, granted=20)
    assert one.refill() is None
    assert one.grants("a") == []
    one.report(1, 15, 5, lacking=8, granted=70)
    one.refill()
    assert one.grants("a") == [Grant(1, 78)]
    assert one.ledger.free == 200 - 78


def test_who_waits_for_what_is_on_its_way_is_not_held_to_be_stuck() -> None:
    """It may go on with it, and return FLOPs."""
    one = book(200, task(0), task(1))
    one.lease("a", 1, now=0.0)
    one.lease("b", 1, now=0.0)
    one.report(1, 60, 0, lacking=10, granted=100)
    one.settle(2, 0)
    one.refill()
    one.add(task(2))
    assert one.lease("b", 1, now=0.0) == []
    one.report(1, 60, 0, lacking=10, granted=100)
    one.refill()
    assert one.grants("a") == [Grant(1, 110)], "told, and not refused"


def test_an_allocator_may_refuse_for_good() -> None:
    one = LeaseBook(Ledger(100), ByWidth(refusing=True))
    one.add(task(0, 2))
    one.lease("a", 2, now=0.0)
    one.report(1, 15, 5, lacking=30)
    assert answers(one) == {"a": [Grant(1, None)]}
    one.report(1, 15, 5, lacking=30)
    assert answers(one) == {}


def test_nobody_is_refused_while_somebody_may_return_flops() -> None:
    one = book(300, *(task(i) for i in range(3)))
    assert len(one.lease("a", 2, now=0.0)) == 2
    assert len(one.lease("b", 1, now=0.0)) == 1
    one.report(1, 100, 0, lacking=80)
    one.report(2, 100, 0, lacking=70)
    assert answers(one) == {}, "lease 3 runs"
    one.settle(3, 40)
    assert answers(one) == {"a": [Grant(2, None)]}


def test_nobody_is_refused_while_a_request_of_theirs_runs() -> None:
    """It was paid for its worst case: what it gives back may be enough for who waits beside it."""
    one = book(100, task(0))
    one.lease("a", 1, now=0.0)
    one.report(1, spent=0, reserved=100, lacking=100)
    assert answers(one) == {}
    one.report(1, spent=30, reserved=0, lacking=30)
    assert answers(one) == {"a": [Grant(1, None)]}


def test_the_youngest_gives_up_first_and_the_next_waits_for_what_it_returns() -> None:
    one = book(300, *(task(i) for i in range(3)))
    one.lease("a", 2, now=0.0, replicas=1)
    one.lease("b", 1, now=0.0)
    one.report(1, 90, 0, lacking=20)
    one.report(2, 100, 0, lacking=20)
    one.report(3, 10, 0, lacking=200)
    assert answers(one) == {"b": [Grant(3, None)]}
    assert answers(one) == {}, "lease 3 ends now, and may carry the others"
    one.report(2, 100, 0, lacking=20)
    assert answers(one) == {}
    one.settle(3, 10)
    assert answers(one) == {"a": [Grant(1, 120), Grant(2, 120)]}


def test_as_many_give_up_at_once_as_the_oldest_needs() -> None:
    """One at a time would cost a heartbeat for each lease in hand, when a budget ends."""
    one = book(500, *(task(i) for i in range(5)))
    one.lease("a", 5, now=0.0)
    for lease, spent in enumerate((100, 60, 70, 60, 90), start=1):
        one.report(lease, spent, 0, lacking=60)
    # Lease 1 needs 60: the youngest return 10 and 40 and 30.
    assert answers(one) == {"a": [Grant(5, None), Grant(4, None), Grant(3, None)]}
    one.settle(5, 90)
    assert answers(one) == {}
    one.settle(4, 60)
    one.settle(3, 70)
    assert answers(one) == {"a": [Grant(1, 160)]}


def test_an_allocator_that_grants_more_than_is_asked_still_sees_everybody_end() -> None:
    one = LeaseBook(Ledger(100), InLumps())
    for number in range(2):
        one.add(task(number))
    one.lease("a", 2, now=0.0)
    one.report(1, 40, 0, lacking=15)
    one.report(2, 40, 0, lacking=15)
    assert answers(one) == {"a": [Grant(2, None)]}, "20 are free, but nothing below 30 is granted"
    one.settle(2, 40)
    assert answers(one) == {"a": [Grant(1, None)]}


def test_a_report_of_a_lease_that_is_not_held_counts_for_nothing() -> None:
    one = book(300, task(0))
    [lease] = one.lease("a", 1, now=0.0)
    assert one.counts(lease.id, 1)
    assert not one.counts(lease.id, 2)
    one.lose(lease.id)
    assert not one.counts(lease.id, 1)
    one.report(lease.id, 10, 10, lacking=10)
    assert answers(one) == {}
    [again] = one.lease("b", 1, now=0.0)
    assert (again.id, again.attempt, again.task) == (2, 2, lease.task)


def test_a_hold_says_what_a_lost_lease_is_charged() -> None:
    limited = LeaseBook(Ledger(100), ByWidth())
    limited.add(task(0, 2))
    limited.lease("a", 2, now=0.0)
    assert limited.holds([1, 7]) == [Hold(1, "t0", 1, "a", 20, 20)], "7 is nobody's"
    limited.report(1, 5, 5, lacking=30)
    limited.refill()
    assert limited.holds([1]) == [Hold(1, "t0", 1, "a", 20, 50)], "it was not told yet that it may go further"
    limited.hear("a", [Account(1, 20, 5, 5, 0, limit=20, used=10, wanted=45)], busy=0.0)
    assert limited.limits("a") == [Limit(1, 45)]
    assert limited.holds([1]) == [Hold(1, "t0", 1, "a", 45, 50)]
    free = book(None, task(0), first=None)
    free.lease("a", 1, now=0.0)
    assert free.holds([1]) == [Hold(1, "t0", 1, "a", 0)]
    free.report(1, 5, 7, lacking=0)
    assert free.holds([1]) == [Hold(1, "t0", 1, "a", 12)]
    assert free.lose(1).waste == 12


def test_a_restored_lease_is_as_its_replica_holds_it() -> None:
    one = book(450, *(task(i) for i in range(4)))
    one.lease("a", 1, now=0.0)
    one.lease("b", 1, now=0.0)
    one.report(2, 60, 20, lacking=30)
    assert answers(one) == {"b": [Grant(2, 130)]}
    one.settle(1, 40, wasted=10)
    one.lease("a", 1, now=0.0)

    two, orphans = successor(one, *(task(i) for i in (1, 2, 3)))
    assert orphans == []
    assert (two.queued, two.leased) == (1, 2)
    assert (two.held_by("a"), two.held_by("b")) == ((3,), (2,))
    ledger = two.ledger
    assert (ledger.spent, ledger.wasted, ledger.free) == (30, 10, 450 - 40 - 130 - 100)
    assert (ledger.granted(2), ledger.granted(3)) == (130, 100), "exactly what was granted"
    assert two.counts(2, 1)
    assert two.knows(3)
    # The last word of the old book may not have reached them.
    assert two.grants("b") == [Grant(2, 130)]
    assert two.grants("a") == [Grant(3, 100)]
    assert two.oldest(now=51.0, count=9) == (("p1 on b", 1.0), ("p2 on a", 1.0))
    # A report from before the last grant came: 110 are lacking, of which 30 are on their way.
    two.report(2, 80, 20, lacking=110, granted=100)
    two.refill()
    assert two.grants("b") == [Grant(2, 130 + 80)]
    two.settle(2, 200)
    assert numbers(two.lease("b", 1, now=60.0)) == [3], "a task restored is no longer queued"
    assert two.held_by("b") == (4,)
    two.settle(3, 0)
    two.settle(4, 100)
    assert (two.queued, two.leased, ledger.free) == (0, 0, 450 - 40 - 200 - 100)


def test_without_a_budget_exposure_stays_on_the_books_until_its_replica_reports() -> None:
    one = book(None, task(0), task(1), first=None)
    one.lease("a", 1, now=0.0)
    one.lease("b", 1, now=0.0)
    one.report(1, 30, 5, lacking=0)
    one.report(2, 70, 9, lacking=0)
    two, _ = successor(one, task(0), task(1), first=None)
    assert [hold.flops for hold in two.holds((1, 2))] == [35, 79]
    two.report(1, 41, 0, lacking=0)
    assert [hold.flops for hold in two.holds((1, 2))] == [41, 79]
    two.refill()
    assert all(grant.total is not None and grant.total > 1 << 60 for grant in two.grants("a"))
    assert two.lose(2).waste == 79
    two.settle(1, 44)
    assert (two.ledger.spent, two.ledger.wasted, two.ledger.reserved) == (44, 79, 0)


def test_a_hold_whose_task_is_not_there_is_nobodys() -> None:
    one = book(300, task(0), task(1))
    one.lease("a", 2, now=0.0)
    two, orphans = successor(one, task(1))
    assert [hold.task_id for hold in orphans] == ["t0"]
    assert (two.queued, two.leased, two.held_by("a")) == (0, 1, (2,))
    assert two.ledger.free == 200


def test_losses_from_before_count_on() -> None:
    """A task that was lost twice is on its last attempt, whoever counts."""
    one = LeaseBook(Ledger(None), FirstCome(None), attempts={"t0": MAX_ATTEMPTS - 1, "t1": 1}, first=9)
    for number in (1, 0, 2):
        one.add(task(number))
    [last] = one.lease("a", 10, now=0.0)
    assert (last.id, last.task.id, last.attempt) == (9, "t0", MAX_ATTEMPTS)
    assert [(lease.task.id, lease.attempt) for lease in one.lease("b", 10, now=0.0)] == [("t1", 2), ("t2", 1)]


def test_a_restored_last_attempt_is_alone_with_its_replica() -> None:
    losses = {"t0": MAX_ATTEMPTS - 1}
    one = LeaseBook(Ledger(None), FirstCome(None), attempts=losses)
    one.add(task(0))
    one.lease("a", 1, now=0.0)
    two = LeaseBook(Ledger(None), FirstCome(None), attempts=losses, first=2)
    for number in (0, 1):
        two.add(task(number))
    assert two.restore(one.holds([1]), now=0.0) == []
    assert two.lease("a", 5, now=0.0) == []
    assert two.lose(1).given_up
    assert numbers(two.lease("a", 5, now=0.0)) == [1]


def test_a_task_that_was_stopped_has_not_lost_an_attempt() -> None:
    one = book(300, task(0), task(1))
    for _ in range(2 * MAX_ATTEMPTS):
        [lease] = one.lease("a", 1, now=0.0)
        assert (lease.task.id, lease.attempt) == ("t0", 1)
        lost = one.lose(lease.id, 3, blame=False)
        assert (lost.waste, lost.given_up) == (3, False)
    assert one.queued == 2
    assert one.ledger.wasted == 6 * MAX_ATTEMPTS


def test_a_task_is_given_up_after_its_last_attempt() -> None:
    one = book(None, task(0), task(1), first=None)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        [lease] = one.lease("a", 1, now=0.0)
        assert (lease.task.id, lease.attempt) == ("t0", attempt)
        lost = one.lose(lease.id)
        assert lost.given_up == (attempt == MAX_ATTEMPTS)
    assert numbers(one.lease("a", 5, now=0.0)) == [1]
    assert (one.queued, one.leased) == (0, 1)


def test_attempts_are_counted_afresh_for_a_task_that_comes_again() -> None:
    one = book(None, task(0), first=None)
    for _ in range(MAX_ATTEMPTS):
        one.lose(one.lease("a", 1, now=0.0)[0].id)
    one.add(task(0))
    assert one.lease("a", 1, now=0.0)[0].attempt == 1


def test_whoever_dies_with_a_poison_task_outlives_it() -> None:
    """On its last attempt a task is alone with its replica, so that it takes nobody along."""
    one = book(None, *(task(i) for i in range(12)), first=None)
    ended: dict[int, str] = {}
    for _ in range(100):
        leases = one.lease("a", 4, now=0.0)
        if not leases:
            break
        assert len(leases) == 1 or max(lease.attempt for lease in leases) < MAX_ATTEMPTS
        poisoned = 5 in numbers(leases)
        for lease in leases:
            if poisoned:
                lost = one.lose(lease.id)
                if lost.given_up:
                    ended[lease.task.prompt.token_ids[0]] = "quarantined"
            else:
                one.settle(lease.id, 0)
                ended[lease.task.prompt.token_ids[0]] = "answered"
    assert ended == {i: "quarantined" if i == 5 else "answered" for i in range(12)}


def test_a_replica_takes_nothing_beside_a_last_attempt() -> None:
    one = book(None, task(0), task(1), first=None)
    for _ in range(MAX_ATTEMPTS - 1):
        one.lose(one.lease("a", 1, now=0.0)[0].id)
    [last] = one.lease("a", 10, now=0.0)
    assert (last.task.id, last.attempt) == ("t0", MAX_ATTEMPTS)
    assert one.lease("a", 10, now=0.0) == []
    assert numbers(one.lease("b", 10, now=0.0)) == [1]
    one.settle(last.id, 0)
    assert one.queued == 0


def test_a_failure_whose_price_is_known_is_charged_that_price() -> None:
    limited = book(300, task(0))
    [lease] = limited.lease("a", 1, now=0.0)
    lost = limited.lose(lease.id, spent=30)
    assert (lost.waste, limited.ledger.free) == (30, 270)
    free = book(None, task(0), first=None)
    [lease] = free.lease("a", 1, now=0.0)
    lost = free.lose(lease.id, spent=30)
    assert lost.waste == 30


def test_the_oldest_are_named_with_their_replica() -> None:
    one = book(None, task(0), task(1), task(2), first=None)
    one.lease("a", 1, now=5.0)
    one.lease("b", 2, now=7.0)
    assert one.oldest(now=8.0, count=2) == (("p0 on a", 3.0), ("p1 on b", 1.0))


def test_a_replica_is_given_tasks_of_its_role_alone_and_lost_ones_go_back_to_it() -> None:
    revisions = [replace(task(number), home="reviser") for number in (10, 11, 12)]
    one = book(None, task(0), *revisions, task(1), first=None)
    assert numbers(one.lease("a", 9, now=0.0)) == [0, 1]
    assert one.lease("a", 9, now=0.0) == []
    assert (one.queued_at("policy"), one.queued_at("reviser"), one.queued) == (0, 3, 3)
    # Its share is of the tasks of its role, among the replicas of its role.
    taken = one.lease("r", 9, now=0.0, replicas=2, role="reviser")
    assert numbers(taken) == [10]
    for _ in range(MAX_ATTEMPTS - 1):
        assert not one.lose(taken[0].id).given_up
        assert one.lease("b", 9, now=0.0) == []
        taken = one.lease("s", 1, now=0.0, role="reviser")
        assert numbers(taken) == [10]
    assert one.lose(taken[0].id).given_up


def test_tasks_of_every_role_starve() -> None:
    one = book(FIRST - 1, task(0), replace(task(1), home="reviser"))
    assert [t.id for t in one.starve()] == ["t0", "t1"]
    assert one.queued == 0
