"""How far a lease may go beyond what it was last heard to have used: what is lost with a replica is charged so much more.

Pure: fed with FLOPs and seconds of computing (not of waiting, or whoever waits would be given ever less), it answers with
FLOPs, and is tested with lists. It knows nothing of tasks or of the disk. Invariant: a slice covers the time until the next
word, and is otherwise a share of what is in hand already, so that a death is charged little more than what was done, and long
tasks ask seldom.
"""

from __future__ import annotations

from dataclasses import dataclass

AHEAD_S = 0.5
"""Seconds of a replica's computing that its leases may be ahead: it asks at half of it, and hears within a few hundredths."""

SHARE = 0.25
"""The share of what a replica has used for all that it holds by which its leases may be ahead, where that is more."""

SMOOTHING = 0.5
"""What the last pace counts against those before it."""


@dataclass(slots=True)
class Slices:
    """The slices of one replica's leases. `pace` is in FLOPs a second, None until it is known."""

    pace: float | None = None
    _done: int | None = None
    _busy: float = 0.0

    def see(self, done: int, busy: float) -> None:
        """Take what the replica has used in all so far, and the seconds that it has computed for it."""
        if self._done is not None and done > self._done and busy > self._busy:
            pace = (done - self._done) / (busy - self._busy)
            self.pace = pace if self.pace is None else self.pace + SMOOTHING * (pace - self.pace)
        self._done, self._busy = done, busy

    def size(self, in_hand: int, leases: int) -> int | None:
        """FLOPs that each of `leases`, which have used `in_hand` together, may be ahead; None: nobody knows yet."""
        if self.pace is None:
            return None
        return int(max(AHEAD_S * self.pace, SHARE * in_hand) / max(1, leases)) + 1
