"""Rates and remaining time of a run, from what the scheduler says of it.

Pure: fed with `Progress`, it gives a `Reading`. It knows nothing of runs on disk or of terminals. Invariant: whatever it
says was counted, never guessed, but for the time left, which is told from the rate so far.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from actors.work import Progress

WINDOW = 10.0
"""Seconds that rates are taken over: long enough to be steady, short enough to show a stall."""

STALL = 30.0
"""Seconds without a finished outcome, with tasks in hand for as long, after which the oldest of them are named."""


@dataclass(slots=True)
class Pass:
    """One run seed over all problems: on how many it is done, and what outcomes it lacks."""

    seed: int
    problems_done: int = 0
    outcomes_left: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What a start has before it, counted over all that was asked for, and how much of it an earlier start did. A problem is
    done where each of its seeds is; `passes` are the seeds in the order of work.
    """

    problems: int
    problems_done: int
    outcomes: int
    outcomes_done: int
    passes: tuple[Pass, ...]

    @property
    def outcomes_left(self) -> int:
        return self.outcomes - self.outcomes_done

    def problems_now(self, made: int) -> tuple[int, str]:
        """With `made` outcomes of this start: problems whose strategies have all ended for the seed that is at work, and that
        seed where there are several, or at the end that it was all of them; a task's outcomes are counted together."""
        if len(self.passes) > 1 and made >= self.outcomes_left:
            return self.problems, f" with all {len(self.passes)} seeds"
        for one in self.passes[:-1]:
            if made < one.outcomes_left:
                break
            made -= one.outcomes_left
        else:
            one = self.passes[-1]
        fresh = self.problems - one.problems_done
        done = one.problems_done + (made * fresh // one.outcomes_left if one.outcomes_left else 0)
        return done, f" of seed {one.seed}" if len(self.passes) > 1 else ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is shown: totals so far, rates a second, shares between 0 and 1, seconds left (None: not known
    yet).
    """

    progress: Progress
    tokens_a_second: float
    scored_a_second: float
    policy_share: float
    verifier_share: float
    seconds_left: float | None
    stalled: bool


class Gauge:
    """Turns a run's progress into rates. `outcomes` is how many this session has to make."""

    def __init__(self, outcomes: int) -> None:
        self._outcomes = outcomes
        self._seen: deque[Progress] = deque()
        self._last_finish = (0, 0.0)
        self._loaded = 0.0

    def observe(self, progress: Progress) -> Reading:
        """Take the newest progress; `seconds` must not fall."""
        if self._seen:
            # A scheduler that follows another has not heard from every replica yet.
            last = self._seen[-1]
            progress = replace(
                progress,
                policy_tokens=max(progress.policy_tokens, last.policy_tokens),
                policy_busy=max(progress.policy_busy, last.policy_busy),
                policy_flops=max(progress.policy_flops, last.policy_flops),
            )
        self._seen.append(progress)
        while len(self._seen) > 2 and progress.seconds - self._seen[1].seconds >= WINDOW:
            self._seen.popleft()
        if progress.outcomes > self._last_finish[0]:
            self._last_finish = (progress.outcomes, progress.seconds)
        if not progress.policy_tokens and not progress.outcomes:
            self._loaded = progress.seconds
        old = self._seen[0]
        seconds = max(progress.seconds - old.seconds, 1e-9)

        def busy(now: float, before: float, replicas: int) -> float:
            return min(1.0, max(0.0, (now - before) / (seconds * replicas))) if replicas else 0.0

        return Reading(
            progress=progress,
            tokens_a_second=max(0, progress.policy_tokens - old.policy_tokens) / seconds,
            scored_a_second=max(0, progress.verifier_tokens - old.verifier_tokens) / seconds,
            policy_share=busy(progress.policy_busy, old.policy_busy, progress.policy_replicas),
            verifier_share=busy(progress.verifier_busy, old.verifier_busy, progress.verifier_replicas),
            seconds_left=self._left(progress, old, seconds),
            stalled=self._stalled(progress),
        )

    def _stalled(self, progress: Progress) -> bool:
        """Whether nothing ended for long although it is long in hand: not while models load."""
        waited = progress.seconds - self._last_finish[1]
        in_hand = progress.oldest[0][1] if progress.oldest else 0.0
        return min(waited, in_hand) >= STALL and progress.outcomes < self._outcomes

    def _left(self, progress: Progress, old: Progress, seconds: float) -> float | None:
        """By the outcomes still to make, or by the budget where that ends sooner; from the rate over the
        whole run, but for the time in which its models were loaded.
        """
        worked = progress.seconds - self._loaded
        if not progress.outcomes or worked <= 0:
            return None
        left = (self._outcomes - progress.outcomes) * worked / progress.outcomes
        spending = (progress.spent - old.spent) / seconds
        if progress.budget is not None and spending > 0:
            left = min(left, (progress.budget - progress.spent - progress.wasted) / spending)
        return max(0.0, left)
