"""Whether a replica gets on with what it holds, told from its reports alone.

It knows nothing of leases or engines. Invariant: a replica that computes, ends something, or waits for what only others can
give it, is never held to stand still; nor is one that stands for want of a processor, within the bounds of `OwnTime`.
"""

from __future__ import annotations

from actors.messages import Report
from actors.scheduling.own_time import OwnTime

IDLE_TIMEOUT_S = 900.0
"""Seconds that tasks may do nothing, with no request in the engine nor with a verifier, and no record with the writer."""


class Watch:
    """Watches one life of a replica. `deadline`: seconds of its own time that requests may run without a token."""

    def __init__(self, deadline: float, now: float) -> None:
        self._deadline = deadline
        self._own, self._mark = OwnTime(now), (0, 0, 0)
        self._due = False

    def rest(self, now: float) -> None:
        """It has nothing to do."""
        self._own, self._due = OwnTime(now), False

    def see(self, report: Report, now: float) -> None:
        """Take a report; TimeoutError where nothing has moved for too long. One report alone is no proof: it may have lain
        here for long, unread."""
        running, accounts = report.counters.running, report.accounts
        mark = (report.counters.tokens_computed, sum(one.spent for one in accounts), len(accounts))
        # Another replica or a writer that hangs is found by whoever waits for it.
        elsewhere = report.elsewhere > 0 or report.staging > 0 or any(one.lacking for one in accounts)
        waits = not running and (not accounts or elsewhere)
        if mark != self._mark or report.finished or waits:
            self._mark, self._own, self._due = mark, OwnTime(now, report.starved), False
            return
        self._own.tell(report.starved)
        stood = self._own.at(now)
        most = self._deadline if running else max(IDLE_TIMEOUT_S, self._deadline)
        was_due, self._due = self._due, stood > most
        if was_due and self._due:
            if running:
                raise TimeoutError(f"no new token in {self._deadline:g} s of {running} requests")
            raise TimeoutError(f"{len(accounts)} tasks have done nothing for {stood:.0f} s")
