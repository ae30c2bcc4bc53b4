"""The books: one global FLOPs budget, the grants it is lent out in, and the purse a task pays from.

`Ledger` is the scheduler's, `Purse` a task's on its replica; both are plain classes without Ray, and the ledger without
asyncio. A grant says what a lease may set aside for the worst case of its requests; a limit within it, what it may have used
up before it is told of more: a lease that is lost is charged its limit. It knows nothing of what a FLOP buys. Invariants:
budget = free + granted + spent + wasted at each moment; nothing is spent that was not reserved within a grant first, so
spent + wasted never exceeds the budget; and nothing is begun that would use more than the limit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from actors.strategy import PurseEmpty, Role

UNLIMITED = 1 << 100
"""Stands for "no budget": larger than anything that can be spent, so that one code path serves both."""

Purpose = Role | Literal["difficulty", "unknown"]
"""What FLOPs went for; "difficulty" are those that told how hard a prompt is and served nothing else, "unknown" those of a
lease whose holder died before it could tell."""

Kind = Literal["kept", "pruned", "failed", "lost"]
"""What came of them: a kept candidate, a branch that was dropped, a call that failed, or work lost with a process."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line on the books: FLOPs of the budget's accounting, what for, and what came of them."""

    purpose: Purpose
    kind: Kind
    flops: int

    @property
    def wasted(self) -> bool:
        """Whether nothing came of it. A pruned branch is part of its search, and counts as spent."""
        return self.kind in ("failed", "lost")


def totals(entries: Iterable[Entry]) -> tuple[int, int]:
    """FLOPs spent, and wasted beside them, of some lines on the books."""
    spent = wasted = 0
    for entry in entries:
        if entry.wasted:
            wasted += entry.flops
        else:
            spent += entry.flops
    return spent, wasted


@dataclass(slots=True)
class _Account:
    granted: int = 0
    limit: int = 0
    spent: int = 0
    reserved: int = 0


class Ledger:
    """The global books, in FLOPs of one accounting (whole numbers)."""

    def __init__(self, budget: int | None, *, spent: int = 0, wasted: int = 0) -> None:
        self.budget = UNLIMITED if budget is None else budget
        self.spent, self.wasted = spent, wasted
        self._accounts: dict[int, _Account] = {}
        self._granted = self._running = self._reserved = 0

    @property
    def limited(self) -> bool:
        return self.budget < UNLIMITED

    @property
    def free(self) -> int:
        """What nobody holds: budget less spent, wasted and granted."""
        return self.budget - self.spent - self.wasted - self._granted

    @property
    def outstanding(self) -> int:
        """Unspent parts of all grants."""
        return self._granted - self._running

    @property
    def reserved(self) -> int:
        """What running requests may still cost, as last reported."""
        return self._reserved

    @property
    def charged(self) -> int:
        """Spent so far, running leases included (as last reported)."""
        return self.spent + self._running

    def granted(self, lease: int) -> int:
        return self._accounts[lease].granted

    def unspent(self, lease: int) -> int:
        """What a lease would return if it ended as last reported."""
        account = self._accounts[lease]
        return account.granted - account.spent

    def limit(self, lease: int) -> int:
        """What a lease may have used up before it is told of more."""
        return self._accounts[lease].limit

    def exposure(self, lease: int) -> int:
        """What a lease is charged if its holder is gone: under a budget its limit, for all of it may have been used since the
        last report; without one, what was last reported as spent and reserved."""
        account = self._accounts[lease]
        # A request that failed is charged its worst case, which may be beyond.
        return max(account.limit, account.spent) if self.limited else account.spent + account.reserved

    def raise_limit(self, lease: int, limit: int) -> int:
        """Let a lease use as much, within its grant, and return its limit, which is never lowered."""
        account = self._accounts[lease]
        account.limit = max(account.limit, min(limit, account.granted))
        return account.limit

    def grant(self, lease: int, amount: int) -> bool:
        """Lend `amount` to a lease, whole or not at all."""
        if amount < 0:
            raise ValueError(f"grant of {amount} FLOPs")
        # Nothing fits always, also where the budget was set below what is spent.
        if amount > max(0, self.free):
            return False
        self._accounts.setdefault(lease, _Account()).granted += amount
        self._granted += amount
        return True

    def restore(self, lease: int, exposure: int, granted: int = 0) -> None:
        """Take over a lease that another ledger of the same budget has granted, with what it is charged if it is lost.

        Without a budget, what it was granted is not on any book, and is no limit.
        """
        if self.limited:
            account = _Account(max(exposure, granted), exposure)
        else:
            account = _Account(UNLIMITED >> 20, reserved=exposure)
        self._accounts[lease] = account
        self._granted += account.granted
        self._reserved += account.reserved

    def report(self, lease: int, spent: int, reserved: int) -> None:
        """Note what a running lease has spent in all so far, and what it has reserved now."""
        account = self._accounts[lease]
        if spent < account.spent or spent + reserved > account.granted:
            raise ValueError(f"lease {lease} reports {spent} spent and {reserved} reserved of {account}")
        self._running += spent - account.spent
        self._reserved += reserved - account.reserved
        account.spent, account.reserved = spent, reserved

    def close(self, lease: int, spent: int, wasted: int = 0) -> None:
        """Settle a lease that ended: what it did not spend is free again; `wasted` of `spent` came to nothing."""
        if not 0 <= wasted <= spent:
            raise ValueError(f"lease {lease} wasted {wasted} of {spent} FLOPs")
        self.report(lease, spent, 0)
        self._drop(lease)
        self.spent += spent - wasted
        self.wasted += wasted

    def lose(self, lease: int) -> int:
        """Settle a lease whose holder is gone, and return what it is charged as waste: its exposure."""
        waste = self.exposure(lease)
        self._drop(lease)
        self.wasted += waste
        return waste

    def _drop(self, lease: int) -> None:
        account = self._accounts.pop(lease)
        self._granted -= account.granted
        self._running -= account.spent
        self._reserved -= account.reserved


Rank = tuple[int, int]
"""Whose turn it is: the number of the candidate that a request is for, and the place of its strategy."""

FIRST: Rank = (0, 0)


class Pace:
    """A request's tokens, told by its engine as they are drawn, so that a purse knows what of a worst case is used by now.

    `first` is what is used with its first token, `token` the most that each further one takes. An engine that has told
    n tokens may be at the next: n + 1 are held to be drawn.
    """

    __slots__ = ("_purse", "_token", "left")

    def __init__(self, purse: Purse, worst: int, first: int, token: int) -> None:
        self._purse, self._token = purse, token
        self.left = worst - first

    @property
    def paid(self) -> bool:
        """Whether the next token may be computed."""
        return self._purse.used <= self._purse.limit

    def call(self, wake: Callable[[], None]) -> None:
        """Have an engine woken when it may be `paid` again."""
        self._purse.on_change = wake

    def drew(self) -> None:
        """One token more is there; not to be called while an engine computes."""
        taken = min(self.left, self._token)
        self.left -= taken
        self._purse.unused -= taken
        self._purse.look_low()

    def end(self) -> None:
        """Nothing more is drawn: the request counts in full until it is settled."""
        self._purse.unused -= self.left
        self.left = 0


@dataclass(slots=True, eq=False)
class _Waits:
    """A request that waits for its purse."""

    amount: int
    first: int
    rank: Rank
    served: asyncio.Future[None]


class Purse:
    """What a task may spend on its replica: reserve before a request, settle after it, ask for more when it is empty.

    A request's rank is the number of the candidate that it is for, counted from 0 in each strategy, and its strategy's place.
    Of the requests that wait, those of the lowest rank are served first, in the order of asking; and none is served for a
    further candidate with what a strategy needs that has none yet.
    """

    def __init__(self, granted: int, limit: int | None = None) -> None:
        self.granted = granted
        self.limit = UNLIMITED if limit is None else limit
        self.reserved = self.spent = self.unused = 0
        self._low = self.limit
        self._books: Counter[tuple[Purpose, Kind]] = Counter()
        self._closed = False
        self._waiting: list[_Waits] = []
        # strategy's place -> what its first candidate may take
        self._needs: dict[int, int] = {}
        self.on_ask: asyncio.Event | None = None
        self.on_change: Callable[[], None] | None = None
        self._mark_low()

    @property
    def free(self) -> int:
        return self.granted - self.spent - self.reserved

    @property
    def limited(self) -> bool:
        """Whether there is a limit to keep to: without one, no engine needs to tell each token."""
        return self.limit < UNLIMITED

    @property
    def used(self) -> int:
        """What is used up by now at most: spent, and of what is reserved all but what running requests have not drawn yet."""
        return self.spent + self.reserved - self.unused

    @property
    def wanted(self) -> int:
        """The limit with which nobody would wait for it: what is used, and what those who wait use as they begin."""
        return self.used + sum(one.first for one in self._waiting)

    @property
    def low(self) -> bool:
        """Whether half of the way to the limit is gone, or somebody waits for it, and more could be had."""
        return self.limit < self.granted and (self.used >= self._low or self.wanted > self.limit)

    @property
    def asked(self) -> int:
        """The sum of what those who wait want to reserve: one refill serves them all."""
        return sum(one.amount for one in self._waiting)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that was spent, by purpose and kind. What is still reserved counts as failed: a request that was given up may
        use all of it."""
        given_up: Counter[tuple[Purpose, Kind]] = Counter({("unknown", "failed"): self.reserved})
        books = self._books + given_up
        return tuple(Entry(purpose, kind, flops) for (purpose, kind), flops in books.items())

    def need(self, place: int, flops: int) -> None:
        """Keep as much for the first candidate of the strategy at a place; 0 when it has one, or has ended."""
        if flops != self._needs.get(place, 0):
            self._needs |= {place: flops}
            self._changed()

    @property
    def _kept(self) -> int:
        return sum(self._needs.values())

    async def reserve(self, amount: int, *, rank: Rank = FIRST) -> None:
        """Set the worst case of a request aside; waits for a refill where it does not fit, PurseEmpty if none comes."""
        await self._reserve(amount, amount, rank)

    async def reserve_paced(self, amount: int, first: int, token: int, *, rank: Rank = FIRST) -> Pace:
        """The same for a request whose engine tells each token; see `Pace`."""
        first = min(first, amount)
        await self._reserve(amount, first, rank)
        return Pace(self, amount, first, token)

    async def ensure(self, amount: int, *, rank: Rank = FIRST) -> None:
        """Wait until `amount` is free, and set nothing aside; PurseEmpty if it will not be."""
        await self._reserve(amount, 0, rank)
        self.reserved -= amount
        self.unused -= amount
        self._changed()

    async def _reserve(self, amount: int, first: int, rank: Rank) -> None:
        one = _Waits(amount, first, rank, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._serve()
        if one.served.done():
            return one.served.result()
        if self.on_ask is not None:
            self.on_ask.set()
        try:
            await one.served
        except asyncio.CancelledError:
            if one.served.done() and not one.served.cancelled() and one.served.exception() is None:
                # Served just before: nobody else would give it back.
                self.reserved -= amount
                self.unused -= amount - first
            raise
        finally:
            if one in self._waiting:
                self._waiting.remove(one)
            self._serve()

    def _serve(self) -> None:
        """Serve who waits, as far as it goes: nobody of a higher rank before one of a lower."""
        stopped: Rank | None = None
        # Sorting keeps the order of asking.
        for one in sorted(self._waiting, key=lambda one: one.rank):
            if stopped is not None and one.rank > stopped:
                break
            if one.served.done():
                # Cancelled, and about to leave.
                continue
            if one.amount <= self.free - (self._kept if one.rank[0] > 0 else 0):
                if self.used + one.first <= self.limit:
                    self._waiting.remove(one)
                    self.reserved += one.amount
                    self.unused += one.amount - one.first
                    one.served.set_result(None)
                    continue
            elif self._closed:
                self._waiting.remove(one)
                one.served.set_exception(PurseEmpty())
                if one.rank[0] == 0:
                    # A first candidate that will not be: nothing is kept for it.
                    self._needs.pop(one.rank[1], None)
                continue
            stopped = one.rank

    def settle(self, reserved: int, spent: int, purpose: Purpose, kind: Kind = "kept") -> None:
        """Give a reservation back and charge what the request really took."""
        if spent > reserved:
            raise ValueError(f"a request took {spent} FLOPs with {reserved} reserved")
        self.reserved -= reserved
        self.spent += spent
        self._books[purpose, kind] += spent
        self._changed()

    def move(self, purpose: Purpose, old: Kind, new: Kind, flops: int) -> None:
        """Book `flops` that were spent as something else, now that it is known what came of them."""
        if not 0 <= flops <= self._books[purpose, old]:
            raise ValueError(f"{flops} of {self._books[purpose, old]} FLOPs booked as {purpose} {old}")
        self._books[purpose, old] -= flops
        self._books[purpose, new] += flops

    def rebook(self, old: Purpose, new: Purpose, flops: int) -> None:
        """Book `flops` that were kept for another purpose, now that it is known what they served."""
        if not 0 <= flops <= self._books[old, "kept"]:
            raise ValueError(f"{flops} of {self._books[old, 'kept']} FLOPs booked as {old} kept")
        self._books[old, "kept"] -= flops
        self._books[new, "kept"] += flops

    def refill(self, total: int | None) -> None:
        """Raise what was granted in all to `total`; None says that there will be no more. Saying it twice changes nothing."""
        if total is None:
            self._closed = True
        else:
            self.granted = max(self.granted, total)
        self._changed()

    def raise_limit(self, limit: int) -> None:
        """Raise what may be used up; saying it twice changes nothing."""
        if limit > self.limit:
            self.limit = limit
            self._mark_low()
            self._changed()

    @property
    def lacking(self) -> int:
        """What the waiting requests need beyond what is free: the size of refill to ask for."""
        if not self._waiting:
            return 0
        kept = self._kept if any(one.rank[0] > 0 for one in self._waiting) else 0
        return max(0, self.asked + kept - self.free)

    def look_low(self) -> None:
        """Ask for a higher limit in time."""
        if self.on_ask is not None and self._low <= self.used and self.limit < self.granted:
            self.on_ask.set()

    def _mark_low(self) -> None:
        self._low = (self.used + self.limit) // 2

    def _changed(self) -> None:
        self._serve()
        if self.on_change is not None:
            self.on_change()
