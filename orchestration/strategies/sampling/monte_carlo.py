"""Data for a process reward model, as in Math-Shepherd (paper section 5.1 and appendix on PRM training).

Draw whole samples; from each step of each, draw rollouts to the end. The share of a prefix's rollouts that is
correct is the value of its last step, a soft label that needs no human. It knows nothing of labels:
correctness is joined later, from the candidates.

Places: sample i at (i,) as everywhere; rollout r after `depth` steps of sample i at (i, -depth, r), where the
negative number keeps it apart from the places of trees. Invariant: a prefix of tokens gets its rollouts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from actors.strategy import Candidate, Forecast, Grouping, Models, Prompt, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import draw, step_logprobs, together, whole_samples
from orchestration.strategies.selection import majority
from orchestration.strategies.settings import canonical, check_count, check_temperature, check_top_p


@dataclass(frozen=True, slots=True)
class _Prefix:
    """The first `depth` steps of a sample; its rollouts are candidates from index `first` on."""

    sample: Candidate
    depth: int
    first: int

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.sample.token_ids[: self.sample.step_ends[self.depth - 1]]


@dataclass(frozen=True, slots=True)
class MonteCarlo:
    """`samples` whole samples and `rollouts` continuations of each of their step prefixes.

    Prefixes are proper ones: the value of a whole solution is its own correctness, that of the bare prompt
    the share of correct samples. Samples that are cut off or have no readable answer get no rollouts, for
    they make bad training data (paper) and nobody should pay for it. A prefix that several samples share
    belongs to the first of them. The defaults are the paper's.
    """

    by_steps: ClassVar[bool] = True
    samples: int = 16
    rollouts: int = 16
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_count("monte_carlo.samples", self.samples)
        check_count("monte_carlo.rollouts", self.rollouts)
        object.__setattr__(
            self, "temperature", check_temperature("monte_carlo.temperature", self.temperature)
        )
        object.__setattr__(self, "top_p", check_top_p("monte_carlo.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("monte_carlo", self, always=("samples", "rollouts"))

    @property
    def uses_verifier(self) -> bool:
        return False

    @property
    def sequences(self) -> int:
        return self.samples * self.rollouts

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, None)

    def forecast(self, typical: int, most: int) -> Forecast:
        """Samples that have an answer; a rollout is half a solution on average, and at worst begins at every token."""
        rollouts = self.samples * (forecasting.steps_of(typical) - 1) * self.rollouts
        drawn = self.samples + rollouts
        tokens = self.samples * typical + rollouts * typical // 2
        return Forecast(drawn, drawn, tokens, drawn, bound=self.samples * (1 + (most - 1) * self.rollouts))

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """The answer is the majority of the samples; each sample and each rollout is one generation.

        Samples are candidates 0 to samples-1. A rollout follows with `kept` false, `parent` the sample it
        continues and `depth` the steps it shares; its tokens are the whole solution. Refused ones leave gaps
        among the indices. Raises PurseEmpty where not one sample could be drawn.
        """
        sampling = Sampling(self.temperature, self.top_p)
        samples = await whole_samples(models, self.samples, sampling, with_scores=False)
        drawn = await together(
            self._roll_out(models, sampling, prefixes) for prefixes in self._prefixes(samples)
        )
        rollouts = tuple(candidate for candidates in drawn for candidate in candidates)
        return Solution(
            answer=majority(samples),
            candidates=(*samples, *rollouts),
            generations=len(samples) + len(rollouts),
            kept_tokens=sum(len(sample.token_ids) for sample in samples),
        )

    def _prefixes(self, samples: tuple[Candidate, ...]) -> list[list[_Prefix]]:
        """Return, for each sample, its proper prefixes that no earlier sample has."""
        found: list[list[_Prefix]] = []
        seen: set[tuple[int, ...]] = set()
        for sample in samples:
            prefixes: list[_Prefix] = []
            if sample.finish == "eos" and sample.answer is not None:
                for depth in range(1, len(sample.step_ends)):
                    prefix = _Prefix(sample, depth, first=self.samples + len(seen) * self.rollouts)
                    if prefix.token_ids not in seen:
                        seen.add(prefix.token_ids)
                        prefixes.append(prefix)
            found.append(prefixes)
        return found

    async def _roll_out(self, models: Models, sampling: Sampling, prefixes: list[_Prefix]) -> list[Candidate]:
        """Draw the rollouts of one sample's prefixes, one prefix after another to bound what runs at once."""
        candidates: list[Candidate] = []
        for prefix in prefixes:
            drawn = await together(
                _rollout(models, sampling, prefix, number) for number in range(self.rollouts)
            )
            candidates += [candidate for candidate in drawn if candidate is not None]
        return candidates


async def _rollout(models: Models, sampling: Sampling, prefix: _Prefix, number: int) -> Candidate | None:
    """Draw one rollout to the end and read its answer; None where the purse refused it."""
    sample, start = prefix.sample, prefix.token_ids
    place = (sample.index, -prefix.depth, number)
    continuation = await draw(models.policy, start, place, sampling)
    if continuation is None:
        return None
    token_ids = start + continuation.token_ids
    step_ends = models.reader.step_ends(token_ids)
    # The prefix's log-probabilities are known by step alone: the step's last token stands for all of it.
    logprobs = continuation.logprobs
    if sample.logprobs:
        known = dict(zip(sample.step_ends, sample.logprobs, strict=True))
        logprobs = tuple(known.get(offset, 0.0) for offset in range(1, len(start) + 1)) + logprobs
    return Candidate(
        index=prefix.first + number,
        token_ids=token_ids,
        step_ends=step_ends,
        logprobs=step_logprobs(logprobs, step_ends, len(token_ids)),
        scores=(),
        finish=continuation.finish,
        answer=await models.reader.answer(token_ids),
        kept=False,
        parent=sample.index,
        depth=prefix.depth,
    )
