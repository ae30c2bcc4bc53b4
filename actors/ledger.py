"""The books: one global FLOPs budget, the grants it is lent out in, and the purse a task pays from.

`Ledger` is the scheduler's, `Purse` a task's on its replica; both are plain classes without Ray, and the ledger without
asyncio. It knows nothing of what a FLOP buys. Invariant: budget = free + granted + spent + wasted at each moment,
and nothing is spent that was not reserved within a grant first, so spent + wasted never exceeds the budget.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from actors.strategy import PurseEmpty, Role

UNLIMITED = 1 << 100
"""Stands for "no budget": larger than anything that can be spent, so that one code path serves both."""

Purpose = Role | Literal["unknown"]
"""What FLOPs went for; "unknown" are those of a lease whose holder died before it could tell."""

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

    def exposure(self, lease: int) -> int:
        """What a lease is charged if its holder is gone: under a budget its whole grant, for all of it may have been spent
        since the last report; without one, what was last reported as spent and reserved."""
        account = self._accounts[lease]
        return account.granted if self.limited else account.spent + account.reserved

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

    def restore(self, lease: int, exposure: int) -> None:
        """Take over a lease that another ledger of the same budget has granted, with what it is charged if it is lost.

        Without a budget, what it was granted is not on any book, and is no limit.
        """
        if self.limited:
            account = _Account(exposure)
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


class Purse:
    """What a task may spend on its replica: reserve before a request, settle after it, ask for more when it is empty."""

    def __init__(self, granted: int) -> None:
        self.granted = granted
        self.reserved = self.spent = self.asked = 0
        self._books: Counter[tuple[Purpose, Kind]] = Counter()
        self._closed = False
        self._changed = asyncio.Event()
        self.on_ask: asyncio.Event | None = None

    @property
    def free(self) -> int:
        return self.granted - self.spent - self.reserved

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that was spent, by purpose and kind. What is still reserved counts as failed: a request that was given up may
        use all of it."""
        given_up: Counter[tuple[Purpose, Kind]] = Counter({("unknown", "failed"): self.reserved})
        books = self._books + given_up
        return tuple(Entry(purpose, kind, flops) for (purpose, kind), flops in books.items())

    async def reserve(self, amount: int) -> None:
        """Set the worst case of a request aside; waits for a refill where it does not fit, PurseEmpty if none comes."""
        while self.free < amount:
            if self._closed:
                raise PurseEmpty
            # Concurrent requests ask for the sum of what they lack: one refill serves them all.
            self.asked += amount
            if self.on_ask is not None:
                self.on_ask.set()
            changed = self._changed
            try:
                await changed.wait()
            finally:
                self.asked = max(0, self.asked - amount)
        self.reserved += amount

    def settle(self, reserved: int, spent: int, purpose: Purpose, kind: Kind = "kept") -> None:
        """Give a reservation back and charge what the request really took."""
        if spent > reserved:
            raise ValueError(f"a request took {spent} FLOPs with {reserved} reserved")
        self.reserved -= reserved
        self.spent += spent
        self._books[purpose, kind] += spent
        self._wake()

    def move(self, purpose: Purpose, old: Kind, new: Kind, flops: int) -> None:
        """Book `flops` that were spent as something else, now that it is known what came of them."""
        if not 0 <= flops <= self._books[purpose, old]:
            raise ValueError(f"{flops} of {self._books[purpose, old]} FLOPs booked as {purpose} {old}")
        self._books[purpose, old] -= flops
        self._books[purpose, new] += flops

    def refill(self, total: int | None) -> None:
        """Raise what was granted in all to `total`; None says that there will be no more. Saying it twice changes nothing."""
        if total is None:
            self._closed = True
        else:
            self.granted = max(self.granted, total)
        self._wake()

    @property
    def lacking(self) -> int:
        """What the waiting requests need beyond what is free: the size of refill to ask for."""
        return max(0, self.asked - self.free)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
