"""The verifier client of a strategy whose verifier is the confidence of the model that drew: it asks no model, and costs
nothing.

Who drew, and what was told of each token, is noted as it comes, strategy by strategy, so that a score hangs on nothing that
another strategy drew. It knows no strategy. Invariant: tokens of which nothing was told have no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.engines.verifiers.confidence import Measure, confidences
from actors.replicas.bench import TaskBench
from actors.replicas.sound import check_prompt_value, check_values
from actors.store.library import score_row
from actors.strategy import Role, Sample

Attempts = tuple[tuple[int, ...], ...]
"""Earlier solutions that one was drawn after, oldest first."""


@dataclass(frozen=True, slots=True)
class _Noted:
    """A draw of a `role`'s model behind the first `start` tokens of a solution; `before` stood in front of that."""

    role: Role
    before: tuple[int, ...]
    start: int
    told: tuple[float, ...]


def told_of(sample: Sample, measure: Measure) -> tuple[float, ...]:
    """What was told of each token of a draw; nothing where it was not measured."""
    return sample.logprobs if measure == "mean_logprob" else sample.certainties


@dataclass(slots=True)
class Likelihoods:
    """What one strategy drew, by the solution up to the end of the draw, and what it was drawn after."""

    measure: Measure
    # (attempts, solution) -> the draw that it ends with
    _noted: dict[tuple[Attempts, tuple[int, ...]], _Noted] = field(default_factory=dict)

    def note(
        self,
        role: Role,
        before: tuple[int, ...],
        prefix: tuple[int, ...],
        sample: Sample,
        attempts: Attempts = (),
    ) -> None:
        """Note a draw that came. Of equal ones of a model the first stays: they differ by rounding at most. Of two
        models' it is the policy's, whichever came first."""
        noted = _Noted(role, before, len(prefix), told_of(sample, self.measure))
        key = attempts, prefix + sample.token_ids
        if key not in self._noted or (role == "policy" and self._noted[key].role != role):
            self._noted[key] = noted

    def found(self, solution: tuple[int, ...], attempts: Attempts) -> tuple[_Noted, Sequence[float]]:
        """The last draw of a solution, and what was told of all its tokens; of one that ends within a draw, too.
        Raises ValueError where some of it was not drawn by this strategy."""
        last = self._noted.get((attempts, solution)) or self._longer(solution, attempts)
        parts, rest, at = list[Sequence[float]](), solution, last
        while True:
            parts.append(at.told[: len(rest) - at.start])
            rest = rest[: at.start]
            if not rest:
                break
            at = self._noted.get((attempts, rest)) or self._longer(rest, attempts)
        return last, [one for part in reversed(parts) for one in part]

    def _longer(self, solution: tuple[int, ...], attempts: Attempts) -> _Noted:
        """A draw that goes on behind the end of this solution, and begins before it."""
        for (after, drawn), noted in self._noted.items():
            if after == attempts and noted.start < len(solution) and drawn[: len(solution)] == solution:
                return noted
        raise ValueError("a solution that this strategy did not draw has no confidence to score it by")


@dataclass(frozen=True, slots=True)
class TaskConfidence:
    """The verifier client of one strategy within a task, over its `likelihoods`."""

    bench: TaskBench
    likelihoods: Likelihoods

    async def prompt_value(self) -> float:
        """Raises ValueError: there is no token yet to be confident of."""
        return check_prompt_value(None)

    async def score(self, solution: tuple[int, ...], after: Attempts = ()) -> tuple[float, ...]:
        """The confidence up to the end of each step. Raises ValueError for what this strategy did not draw after these
        attempts."""
        bench = self.bench
        bench.check_open()
        if not solution:
            return ()
        noted, told = self.likelihoods.found(solution, after)
        if len(told) != len(solution):
            raise ValueError(f"the engine told of {len(told)} tokens, of {len(solution)} (verifier.measure)")
        last = bench.steps_after(noted.before, noted.role).keyed(solution)
        values = confidences(self.likelihoods.measure, told, last.ends)
        check_values(values, len(last.ends))
        steps = [*last.path()][::-1]
        for step, value in zip(steps, values, strict=True):
            if step.known is None:
                # Whoever drew the same is to have the very same, whatever rounding its own draw had.
                step.known = value
                bench.score_rows.append(score_row(step.key, bench.prompt.id, value))
        return tuple(step.known for step in steps if step.known is not None)
