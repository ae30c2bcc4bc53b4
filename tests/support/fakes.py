"""Models made of hashes: what is drawn depends on the place, what is scored on the tokens, and nothing on
time.

Tokens: 0 ends a solution, 1 ends a step, 2 to 9 are words. The answer is the last word modulo 3; a 9 cannot
be read.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from actors.seeds import derive
from actors.strategy import Prompt, PurseEmpty, Sample, Sampling, Solution, Strategy

EOS, NEWLINE = 0, 1
PROMPT = Prompt("p", (7, 7))


@dataclass
class Purse:
    """Allows so many requests, of whatever kind."""

    limit: int | None = None
    used: int = 0

    def take(self) -> None:
        if self.limit is not None and self.used >= self.limit:
            raise PurseEmpty("empty")
        self.used += 1


async def pause(delays: int | None, *parts: int | tuple[int, ...]) -> None:
    """Give way a few times, as many as the hash says; no delays means at once."""
    for _ in range(derive(delays, *parts) % 9 if delays is not None else 0):
        await asyncio.sleep(0)


@dataclass
class FakePolicy:
    seed: int = 0
    max_tokens: int = 24
    end_rate: float = 0.3
    delays: int | None = None
    purse: Purse = field(default_factory=Purse)
    table: dict[tuple[int, ...], Sample] = field(default_factory=dict)
    rollouts: dict[tuple[int, ...], Sample] = field(default_factory=dict)
    words: tuple[int, ...] = tuple(range(2, 10))
    requests: list[tuple[tuple[int, ...], tuple[int, ...], bool, Sampling]] = field(default_factory=list)
    completed: list[tuple[int, ...]] = field(default_factory=list)

    def drawn(self, prefix: tuple[int, ...], place: tuple[int, ...], one_step: bool) -> Sample:
        """What this place always draws; at place (), where steps are drawn at temperature 0, what this prefix does."""
        if not place and prefix in self.rollouts:
            return self.rollouts[prefix]
        if place in self.table:
            return self.table[place]
        rng = random.Random(derive(self.seed, prefix, place))
        tokens: list[int] = []
        while len(prefix) + len(tokens) < self.max_tokens:
            last = (tokens or prefix or (NEWLINE,))[-1]
            started = bool(tokens or prefix)
            if last == NEWLINE:
                token = EOS if started and rng.random() < self.end_rate else rng.choice(self.words)
            else:
                token = rng.choice((EOS, NEWLINE, NEWLINE, *self.words))
            tokens.append(token)
            if token == EOS or (one_step and token == NEWLINE):
                break
        end = tokens[-1]
        finish = "eos" if end == EOS else "stop" if one_step and end == NEWLINE else "length"
        return Sample(tuple(tokens), tuple(-rng.random() for _ in tokens), finish)

    async def sample(
        self,
        prefix: tuple[int, ...],
        place: tuple[int, ...],
        *,
        one_step: bool = False,
        sampling: Sampling = Sampling(),  # noqa: B008
    ) -> Sample:
        self.requests.append((prefix, place, one_step, sampling))
        self.purse.take()
        await pause(self.delays, 0, place)
        self.completed.append(place)
        return self.drawn(prefix, place, one_step)


@dataclass
class FakeReviser:
    """Draws by what it is shown and the place. `begun` says of each request what it goes on from, and whether by one step."""

    policy: FakePolicy
    purse: Purse = field(default_factory=Purse)
    table: dict[tuple[int, ...], Sample] = field(default_factory=dict)
    requests: list[tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]] = field(default_factory=list)
    begun: list[tuple[tuple[int, ...], bool]] = field(default_factory=list)

    @property
    def max_tokens(self) -> int:
        return self.policy.max_tokens

    async def revise(
        self,
        attempts: tuple[tuple[int, ...], ...],
        place: tuple[int, ...],
        *,
        sampling: Sampling = Sampling(),  # noqa: B008
        prefix: tuple[int, ...] = (),
        one_step: bool = False,
    ) -> Sample:
        self.requests.append((attempts, place))
        self.begun.append((prefix, one_step))
        self.purse.take()
        await pause(self.policy.delays, 2, place)
        if place in self.table:
            return self.table[place]
        return self.policy.drawn(prefix, (derive(place, *attempts), *place), one_step=one_step)


@dataclass
class FakeVerifier:
    """Scores are sixteenths, so that sums are exact and ties happen."""

    delays: int | None = None
    purse: Purse = field(default_factory=Purse)
    table: dict[tuple[int, ...], float] = field(default_factory=dict)
    requests: list[tuple[int, ...]] = field(default_factory=list)
    alone: float = 0.5
    after: dict[tuple[int, ...], tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    def value(self, solution: tuple[int, ...]) -> float:
        """The score of the last step."""
        return self.table.get(solution, derive("score", solution) % 17 / 16)

    async def score(
        self, solution: tuple[int, ...], after: tuple[tuple[int, ...], ...] = ()
    ) -> tuple[float, ...]:
        self.requests.append(solution)
        self.after[solution] = after
        self.purse.take()
        await pause(self.delays, 1, solution)
        return tuple(self.value(solution[:end]) for end in step_ends(solution))

    async def prompt_value(self) -> float:
        """What the test says of the prompt alone."""
        self.requests.append(())
        self.purse.take()
        return self.alone


class FakeReader:
    def step_ends(self, solution: tuple[int, ...]) -> tuple[int, ...]:
        return step_ends(solution)

    async def answer(self, solution: tuple[int, ...]) -> str | None:
        await asyncio.sleep(0)
        return answer_of(solution)


def step_ends(solution: tuple[int, ...]) -> tuple[int, ...]:
    ends = [i for i, token in enumerate(solution, start=1) if token == NEWLINE]
    rest = solution[ends[-1] :] if ends else solution
    return tuple(ends) + ((len(solution),) if any(token >= 2 for token in rest) else ())


def answer_of(solution: tuple[int, ...]) -> str | None:
    words = [token for token in solution if token >= 2]
    return None if not words or words[-1] == 9 else str(words[-1] % 3)


@dataclass
class FakeModels:
    policy: FakePolicy
    verifier: FakeVerifier
    reader: FakeReader = field(default_factory=FakeReader)
    seed: int = 0
    reviser: FakeReviser = field(init=False)

    def __post_init__(self) -> None:
        self.reviser = FakeReviser(self.policy, self.policy.purse)


def models(
    seed: int = 0,
    *,
    limit: int | None = None,
    delays: int | None = None,
    max_tokens: int = 24,
    end_rate: float = 0.3,
    samples: dict[tuple[int, ...], Sample] | None = None,
    scores: dict[tuple[int, ...], float] | None = None,
    rollouts: dict[tuple[int, ...], Sample] | None = None,
    words: tuple[int, ...] = tuple(range(2, 10)),
) -> FakeModels:
    """One purse for both models; tables, where given, come before the hashes."""
    purse = Purse(limit)
    return FakeModels(
        FakePolicy(seed, max_tokens, end_rate, delays, purse, samples or {}, rollouts or {}, words),
        FakeVerifier(delays, purse, scores or {}),
    )


def step(*tokens: int, finish: str = "") -> Sample:
    """A drawn step; the reason follows from its last token unless given."""
    reason = finish or ("eos" if tokens[-1] == EOS else "stop" if tokens[-1] == NEWLINE else "length")
    return Sample(tokens, tuple(-1.0 for _ in tokens), reason)  # type: ignore[arg-type]


async def solve(strategy: Strategy, given: FakeModels) -> Solution:
    return await strategy.solve(PROMPT, given)
