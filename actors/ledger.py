"""The books: one global FLOPs budget, the grants it is lent out in, and the purse a task pays from.

`Ledger` is the scheduler's, `Purse` a task's on its replica; both are plain classes without Ray, and the ledger without
asyncio. It knows nothing of what a FLOP buys. Invariant: budget = free + granted + spent + wasted at each moment,
and nothing is spent that was not reserved within a grant first, so spent + wasted never exceeds the budget.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from actors.work import PurseEmpty

UNLIMITED = 1 << 100
"""Stands for "no budget": larger than anything that can be spent, so that one code path serves both."""


@dataclass(slots=True)
class _Account:
    granted: int
    spent: int = 0
    reserved: int = 0


class Ledger:
    """The global books, in FLOPs of one accounting (whole numbers)."""

    def __init__(self, budget: int | None, *, spent: int = 0, wasted: int = 0) -> None:
        self.budget = UNLIMITED if budget is None else budget
        self.spent, self.wasted = spent, wasted
        self._accounts: dict[int, _Account] = {}
        self._granted = 0

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
        return self._granted - sum(a.spent for a in self._accounts.values())

    @property
    def reserved(self) -> int:
        """What running requests may still cost, as last reported."""
        return sum(a.reserved for a in self._accounts.values())

    @property
    def charged(self) -> int:
        """Spent so far, running leases included (as last reported)."""
        return self.spent + sum(a.spent for a in self._accounts.values())

    def unspent(self, lease: int) -> int:
        """What a lease would return if it ended as last reported."""
        account = self._accounts[lease]
        return account.granted - account.spent

    def grant(self, lease: int, amount: int) -> bool:
        """Lend `amount` to a lease, whole or not at all."""
        if amount < 0:
            raise ValueError(f"grant of {amount} FLOPs")
        if amount > self.free:
            return False
        self._accounts.setdefault(lease, _Account(0)).granted += amount
        self._granted += amount
        return True

    def report(self, lease: int, spent: int, reserved: int) -> None:
        """Note what a running lease has spent in all so far, and what it has reserved now."""
        account = self._accounts[lease]
        if spent < account.spent or spent + reserved > account.granted:
            raise ValueError(f"lease {lease} reports {spent} spent and {reserved} reserved of {account}")
        account.spent, account.reserved = spent, reserved

    def close(self, lease: int, spent: int, wasted: int = 0) -> None:
        """Settle a lease that ended well: what it did not spend is free again; `wasted` of `spent` went for lost calls."""
        if not 0 <= wasted <= spent:
            raise ValueError(f"lease {lease} wasted {wasted} of {spent} FLOPs")
        self.report(lease, spent, 0)
        account = self._accounts.pop(lease)
        self._granted -= account.granted
        self.spent += spent - wasted
        self.wasted += wasted

    def lose(self, lease: int, spent: int | None = None) -> int:
        """Settle a lease that came to nothing, and return what it is charged as waste: `spent` where its holder told.

        Where the holder is gone, under a budget that is its whole grant, for all of it may have been spent since the last
        report; without one it is what was last reported as spent and reserved.
        """
        if spent is not None:
            self.report(lease, spent, 0)
        account = self._accounts.pop(lease)
        self._granted -= account.granted
        if spent is not None or not self.limited:
            waste = account.spent + account.reserved
        else:
            waste = account.granted
        self.wasted += waste
        return waste


class Purse:
    """What a task may spend on its replica: reserve before a request, settle after it, ask for more when it is empty."""

    def __init__(self, granted: int) -> None:
        self.granted = granted
        self.spent = self.reserved = self.wasted = 0
        self.asked = 0
        self._closed = False
        self._changed = asyncio.Event()
        self.on_ask: asyncio.Event | None = None

    @property
    def free(self) -> int:
        return self.granted - self.spent - self.reserved

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

    def settle(self, reserved: int, spent: int, *, wasted: bool = False) -> None:
        """Give a reservation back and charge what the request really took; `wasted` where nothing came of it."""
        if spent > reserved:
            raise ValueError(f"a request took {spent} FLOPs with {reserved} reserved")
        self.reserved -= reserved
        self.spent += spent
        self.wasted += spent if wasted else 0
        self._wake()

    def refill(self, amount: int | None) -> None:
        """Add a grant; None says that there will be no more."""
        if amount is None:
            self._closed = True
        else:
            self.granted += amount
        self._wake()

    @property
    def lacking(self) -> int:
        """What the waiting requests need beyond what is free: the size of refill to ask for."""
        return max(0, self.asked - self.free)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
