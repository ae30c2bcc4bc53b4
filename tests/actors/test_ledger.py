"""The books are conserved whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from actors.ledger import UNLIMITED, Ledger

BUDGET = 1_000


class Books(RuleBasedStateMachine):
    """A ledger beside the plainest book-keeping that could be right."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(BUDGET, spent=70, wasted=30)
        self.granted: dict[int, int] = {}
        self.limits: dict[int, int] = {}
        self.reported: dict[int, tuple[int, int]] = {}
        self.settled, self.lost, self.next = 70, 30, 1

    def lent(self) -> int:
        return sum(self.granted.values())

    @rule(target=leases, amount=st.integers(0, 400))
    def start(self, amount: int) -> int:
        lease, self.next = self.next, self.next + 1
        fits = amount <= BUDGET - self.settled - self.lost - self.lent()
        assert self.ledger.grant(lease, amount) is fits
        if fits:
            self.granted[lease], self.reported[lease], self.limits[lease] = amount, (0, 0), 0
        return lease

    @rule(lease=leases, amount=st.integers(0, 200))
    def grant_more(self, lease: int, amount: int) -> None:
        if lease in self.granted:
            fits = amount <= BUDGET - self.settled - self.lost - self.lent()
            assert self.ledger.grant(lease, amount) is fits
            self.granted[lease] += amount * fits

    @rule(lease=leases, limit=st.integers(0, 500))
    def raise_limit(self, lease: int, limit: int) -> None:
        """It is never lowered, and never above what was granted."""
        if lease in self.granted:
            self.ledger.raise_limit(lease, limit)
            self.limits[lease] = max(self.limits[lease], min(limit, self.granted[lease]))
            assert self.ledger.limit(lease) == self.limits[lease]

    def exposure(self, lease: int) -> int:
        return max(self.limits[lease], self.reported[lease][0])

    @rule(lease=leases, spent=st.floats(0, 1), reserved=st.floats(0, 1))
    def report(self, lease: int, spent: float, reserved: float) -> None:
        if lease in self.granted:
            before = self.reported[lease][0]
            now = before + int(spent * (self.granted[lease] - before))
            aside = int(reserved * (self.granted[lease] - now))
            self.ledger.report(lease, now, aside)
            self.reported[lease] = (now, aside)

    @rule(lease=leases)
    def report_nonsense(self, lease: int) -> None:
        """Less than before, or more than was lent: refused, and nothing has changed."""
        if lease in self.granted:
            with pytest.raises(ValueError, match="reports"):
                self.ledger.report(lease, self.granted[lease], 1)
            if self.reported[lease][0]:
                with pytest.raises(ValueError, match="reports"):
                    self.ledger.report(lease, self.reported[lease][0] - 1, 0)

    @rule(lease=consumes(leases), share=st.floats(0, 1))
    def close(self, lease: int, share: float) -> None:
        if lease in self.granted:
            before, granted = self.reported.pop(lease)[0], self.granted.pop(lease)
            spent = before + int(share * (granted - before))
            self.ledger.close(lease, spent)
            self.settled += spent

    @rule(lease=consumes(leases))
    def lose(self, lease: int) -> None:
        """The holder may have gone to its limit since it last reported."""
        if lease in self.granted:
            exposure = self.exposure(lease)
            assert self.ledger.exposure(lease) == exposure <= self.granted.pop(lease)
            del self.reported[lease]
            assert self.ledger.lose(lease) == exposure
            self.lost += exposure

    @rule()
    def take_over(self) -> None:
        """Another ledger goes on with what was written of this one: each grant as it was, all reports to come again."""
        self.limits = {lease: self.exposure(lease) for lease in self.granted}
        self.ledger = Ledger(BUDGET, spent=self.settled, wasted=self.lost)
        for lease, granted in self.granted.items():
            self.ledger.restore(lease, self.limits[lease], granted)
            assert (self.ledger.granted(lease), self.ledger.exposure(lease)) == (granted, self.limits[lease])
        self.reported = dict.fromkeys(self.granted, (0, 0))

    @invariant()
    def conserved(self) -> None:
        ledger = self.ledger
        assert (ledger.spent, ledger.wasted) == (self.settled, self.lost)
        assert ledger.free == BUDGET - self.settled - self.lost - self.lent() >= 0
        assert ledger.charged == self.settled + sum(spent for spent, _ in self.reported.values())
        assert ledger.reserved == sum(aside for _, aside in self.reported.values())
        assert ledger.outstanding == self.lent() - sum(spent for spent, _ in self.reported.values())
        assert ledger.charged + ledger.reserved + ledger.wasted <= BUDGET


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=100, stateful_step_count=40)


def test_without_a_budget_a_lost_lease_is_charged_what_was_last_known() -> None:
    ledger = Ledger(None)
    assert not ledger.limited
    assert ledger.grant(1, 1 << 60)
    assert ledger.exposure(1) == 0
    ledger.report(1, 40, 7)
    assert ledger.exposure(1) == 47
    assert ledger.lose(1) == 47
    assert (ledger.spent, ledger.wasted, ledger.reserved) == (0, 47, 0)


def test_under_a_budget_a_lost_lease_is_charged_its_limit_and_not_its_grant() -> None:
    """Its holder may have gone so far since it last reported, and no further."""
    ledger = Ledger(100)
    assert ledger.limited
    assert ledger.grant(1, 60)
    ledger.raise_limit(1, 45)
    ledger.report(1, 40, 7)
    assert (ledger.granted(1), ledger.exposure(1), ledger.free) == (60, 45, 40)
    assert ledger.grant(1, 30)
    assert ledger.exposure(1) == 45
    ledger.raise_limit(1, 95)
    assert ledger.exposure(1) == 90, "there is no more than was granted"
    ledger.report(1, 80, 7)
    assert ledger.lose(1) == 90
    assert (ledger.spent, ledger.wasted, ledger.free) == (0, 90, 10)


def test_what_failed_is_charged_though_it_is_above_the_limit() -> None:
    """A request that failed counts as its worst case, which it need not have used."""
    ledger = Ledger(100)
    ledger.grant(1, 60)
    ledger.raise_limit(1, 20)
    ledger.report(1, 50, 0)
    assert ledger.lose(1) == 50


def test_without_a_budget_exposure_taken_over_stays_until_its_holder_reports() -> None:
    ledger = Ledger(None, spent=5, wasted=3)
    ledger.restore(1, 47)
    ledger.restore(2, 11)
    assert (ledger.exposure(1), ledger.reserved, ledger.charged) == (47, 58, 5)
    assert ledger.free > UNLIMITED >> 1, "what was granted is on no book, and takes nothing from others"
    ledger.report(1, 60, 2)
    assert (ledger.exposure(1), ledger.reserved, ledger.charged) == (62, 13, 65)
    assert ledger.lose(2) == 11
    ledger.close(1, 70, wasted=10)
    assert (ledger.spent, ledger.wasted, ledger.reserved) == (65, 24, 0)
    assert ledger.free == UNLIMITED - 65 - 24


def test_what_came_to_nothing_of_a_lease_that_ended_is_waste() -> None:
    ledger = Ledger(100)
    ledger.grant(1, 80)
    with pytest.raises(ValueError, match="wasted 51 of 50"):
        ledger.close(1, 50, wasted=51)
    with pytest.raises(ValueError, match="wasted -1"):
        ledger.close(1, 50, wasted=-1)
    ledger.close(1, 50, wasted=20)
    assert (ledger.spent, ledger.wasted, ledger.free) == (30, 20, 50)


def test_a_smaller_budget_than_was_spent_before_lends_nothing() -> None:
    ledger = Ledger(100, spent=90, wasted=20)
    assert ledger.free == -10
    assert not ledger.grant(1, 1)


def test_a_negative_grant_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="-1"):
        Ledger(10).grant(1, -1)
