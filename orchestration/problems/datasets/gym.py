"""Any data set of reasoning-gym by its name, and gsm_symbolic with its worked solutions.

It knows nothing of prompts or grading. Invariant: the problem at an index is a function of (settings, seed, index).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from actors.errors import UserError, nearest
from actors.seeds import derive
from orchestration.problems.datasets.gym_reference import reference
from orchestration.problems.problem import Problem, content_id

# Some generators fix their plan for `size` items on creation: blocks of so many items, a seed for each block.
_BLOCK = 500
# Generators with seeds of 32 bits: numpy's old ones.
_SHORT_SEEDS = frozenset({"pool_matrix"})
# gsm_symbolic templates whose solution does not end in their answer, or does not always.
_BROKEN_GSM_TEMPLATES = frozenset({25, 27, 84, 89})


@functools.lru_cache(maxsize=64)
def _generator(name: str, seed: int, options: tuple[tuple[str, Any], ...]) -> Any:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if name not in DATASETS:
        raise UserError.of(
            "dataset.name", name, f"reasoning-gym has no such data set{nearest(name, DATASETS)}"
        )
    try:
        return reasoning_gym.create_dataset(name, seed=seed, size=_BLOCK, **dict(options))
    except (TypeError, AssertionError, ValueError) as error:
        raise UserError.of("dataset.options", dict(options), f"{name} refuses them: {error}") from None


def generator(name: str, seed: int, options: dict[str, Any]) -> Any:
    """Return reasoning-gym's data set of this name, in blocks of `_BLOCK` items; UserError where it has none, or where an
    option is neither a plain value nor a list of such."""
    for key, value in options.items():
        if any(
            isinstance(one, list | dict | set)
            for one in (value if isinstance(value, list | tuple) else [value])
        ):
            raise UserError.of(
                f"dataset.options.{key}", value, "give a number, a text, true, false or a list of such"
            )
    frozen = tuple(sorted((key, tuple(v) if isinstance(v, list) else v) for key, v in options.items()))
    return _generator(name, seed, frozen)


def entry_at(name: str, seed: int, index: int, options: dict[str, Any]) -> dict[str, Any]:
    """Item `index` of reasoning-gym's data set of this name and seed."""
    # Item i of a reasoning-gym seed s draws from seed s + i: space the seeds, or neighbours share items.
    spaced = derive("reasoning-gym", name, seed)
    spaced = spaced % 2**31 if name in _SHORT_SEEDS else spaced
    entry: dict[str, Any] = generator(name, spaced, options)[index]
    return entry


@dataclass(frozen=True, slots=True)
class GymSource:
    """Any reasoning-gym data set, its questions as they are; `options` are its own settings."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def description(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"reasoning-gym {self.name}({settings})"

    def draw(self, seed: int, index: int) -> Problem | None:
        block, offset = divmod(index, _BLOCK)
        entry = entry_at(self.name, derive("block", seed, block), offset, self.options)
        known = reference(self.name, self.options, entry)
        # Of several right answers some data sets name none: their scoring needs none.
        answer = None if entry["answer"] is None else str(entry["answer"])
        if answer is None and known is None:
            return None
        question = str(entry["question"]).strip()
        return Problem(
            content_id(self.name, question),
            question,
            answer,
            metadata={"family": self.name},
            reference=known,
        )


@dataclass(frozen=True, slots=True)
class GsmSymbolicSource:
    """gsm_symbolic with its chains of thought, without the templates that contradict themselves."""

    @property
    def description(self) -> str:
        return "reasoning-gym gsm_symbolic, four templates with wrong solutions dropped"

    def draw(self, seed: int, index: int) -> Problem | None:
        block, offset = divmod(index, _BLOCK)
        entry = entry_at("gsm_symbolic", derive("block", seed, block), offset, {})
        template = int(self._template(derive("block", seed, block), offset))
        if template in _BROKEN_GSM_TEMPLATES:
            return None
        question, answer = str(entry["question"]).strip(), str(entry["answer"])
        solution = str(entry["metadata"]["answer_cot"]).strip()
        if not solution.endswith(f"#### {answer}"):
            return None
        metadata = {"family": "gsm_symbolic", "template": template, "length": solution.count("\n")}
        known = reference("gsm_symbolic", {}, entry)
        return Problem(content_id("gsm", question), question, answer, solution, metadata, known)

    @staticmethod
    def _template(seed: int, offset: int) -> int:
        generator = _generator("gsm_symbolic", derive("reasoning-gym", "gsm_symbolic", seed), ())
        return int(generator.task_indices[offset])
