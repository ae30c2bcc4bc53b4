"""Rates and remaining time of a run, from what the scheduler says of it.

Pure: fed with `Progress`, it gives a `Reading`. It knows nothing of runs on disk or of terminals. Invariant: whatever it
says was counted, never guessed, but for the time left, which is told from the rate so far.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from actors.strategy import Role
from actors.work import IDLE, Load, Progress

RATE_WINDOW_S = 10.0
"""Seconds that rates are taken over: long enough to be steady, short enough to show a stall."""

STALL_S = 30.0
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

    def after(self, made: int) -> Totals:
        """These with `made` outcomes of this start among what is done."""
        passes, left = [], made
        for one in self.passes:
            here = min(left, one.outcomes_left)
            fresh = self.problems - one.problems_done
            done = one.problems_done + (here * fresh // one.outcomes_left if one.outcomes_left else 0)
            passes.append(Pass(one.seed, done, one.outcomes_left - here))
            left -= here
        problems_done = min((one.problems_done for one in passes), default=self.problems_done)
        return Totals(self.problems, problems_done, self.outcomes, self.outcomes_done + made, tuple(passes))

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
class Speed:
    """How the replicas of one role get on: tokens a second, and the share of their time inside the model, from 0 to 1."""

    tokens_a_second: float = 0.0
    share: float = 0.0


STILL = Speed()


@dataclass(frozen=True, slots=True)
class Reading:
    """What is shown: totals so far, speed by role, seconds left (None: not known yet)."""

    progress: Progress
    speed: Mapping[Role, Speed]
    seconds_left: float | None
    stalled: bool

    @property
    def drawn_a_second(self) -> float:
        """Tokens sampled a second, by whichever model."""
        return sum(speed.tokens_a_second for role, speed in self.speed.items() if role != "verifier")

    def of(self, role: Role) -> Speed:
        """The speed of one role, all zero where it has none."""
        return self.speed.get(role, STILL)


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
            progress = replace(progress, load=_never_less(progress.load, self._seen[-1].load))
        self._seen.append(progress)
        while len(self._seen) > 2 and progress.seconds - self._seen[1].seconds >= RATE_WINDOW_S:
            self._seen.popleft()
        if progress.outcomes > self._last_finish[0]:
            self._last_finish = (progress.outcomes, progress.seconds)
        if not progress.drawn and not progress.outcomes:
            self._loaded = progress.seconds
        old = self._seen[0]
        seconds = max(progress.seconds - old.seconds, 1e-9)

        return Reading(
            progress=progress,
            speed={role: _speed(now, old.of(role), seconds) for role, now in progress.load.items()},
            seconds_left=self._left(progress, old, seconds),
            stalled=self._stalled(progress),
        )

    def _stalled(self, progress: Progress) -> bool:
        """Whether nothing ended for long although it is long in hand: not while models load."""
        waited = progress.seconds - self._last_finish[1]
        in_hand = progress.oldest[0][1] if progress.oldest else 0.0
        return min(waited, in_hand) >= STALL_S and progress.outcomes < self._outcomes

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


def _never_less(now: Mapping[Role, Load], before: Mapping[Role, Load]) -> dict[Role, Load]:
    """The loads, with no total below what it was: a scheduler that follows another has not heard from every replica yet.

    A verifier tells its own time, which begins anew with its process.
    """
    return {
        role: load if role == "verifier" else _at_least(load, before.get(role, IDLE))
        for role, load in now.items()
    }


def _at_least(now: Load, before: Load) -> Load:
    return replace(
        now,
        tokens=max(now.tokens, before.tokens),
        busy=max(now.busy, before.busy),
        flops=max(now.flops, before.flops),
        ended=max(now.ended, before.ended),
        cut_off=max(now.cut_off, before.cut_off),
    )


def _speed(now: Load, before: Load, seconds: float) -> Speed:
    tokens = max(0, now.tokens - before.tokens) / seconds
    if not now.replicas:
        return Speed(tokens)
    return Speed(tokens, min(1.0, max(0.0, (now.busy - before.busy) / (seconds * now.replicas))))
