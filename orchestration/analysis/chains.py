"""How chains of revisions do, step by step: whether attempts get better along them, what is mended and what is spoiled, and
which chains come to nothing new.

It knows the columns of candidates and how long a chain is, nothing of tables. Invariants: all attempts of a step are judged,
whatever was selected; a step that a chain did not come to has no number; of an outcome that was made again the newest counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestration.analysis.collect import Array, Collected, Measured
from orchestration.analysis.statistics import Estimate
from orchestration.strategies.parse import registered
from orchestration.strategies.revision.revision import Revision

_COLUMNS = ("problem_id", "seed", "index", "answer", "ballot", "correct")

STUCK = 0.5
"""The share of chains that are stuck above which a report says so."""

Bin = tuple[str, int, NDArray[np.int64]]
"""Problems of one difficulty: its panel, its place on the axis, and which they are."""


@dataclass(frozen=True, slots=True)
class Chains:
    """The chains of one strategy. `steps` are pass@1 by step, over all problems; `bins` the same by difficulty.

    Of the `right` attempts that have a next one, `spoiled` have one that is wrong; of the `wrong` ones, `mended` a right one.
    Of the `chains` of several attempts, `stuck` end on a wrong answer that they had given before.
    """

    strategy: str
    steps: list[Estimate]
    bins: list[tuple[str, int, list[Estimate]]]
    right: int
    spoiled: int
    wrong: int
    mended: int
    chains: int
    stuck: int

    @property
    def note(self) -> str:
        """What a reader should know of chains that come to nothing new; empty where few do."""
        if not self.chains or self.stuck < STUCK * self.chains:
            return ""
        return (
            f"{self.stuck:,} of {self.chains:,} chains of {self.strategy} end on a wrong answer that they had given before: "
            "longer ones buy little; more chains, or a higher temperature, may."
        )


def chains_of(run: Collected, mean: Callable[[Array], Estimate], bins: Sequence[Bin] = ()) -> list[Chains]:
    """The chains of every strategy that has some, where there are labels; `mean` makes an estimate of values by problem and
    seed (P, S)."""
    found = []
    for one in run.strategies:
        strategy = registered(one.name.text)
        if isinstance(strategy, Revision) and run.labelled.any() and one.ran.any():
            found.append(_chains(run, one, strategy, mean, bins))
    return found


def _chains(
    run: Collected, one: Measured, strategy: Revision, mean: Callable[[Array], Estimate], bins: Sequence[Bin]
) -> Chains:
    right, said = _attempts(run, one, strategy)
    known = right >= 0
    # By problem, seed and step: the mean over chains.
    count = known.sum(axis=2)
    total = np.where(known, right, 0).sum(axis=2)
    values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    steps = range(strategy.sequential)
    before, after = right[..., :-1], right[..., 1:]
    both = (before >= 0) & (after >= 0)
    lengths = known.sum(axis=3)
    last = np.maximum(lengths - 1, 0)[..., None]
    final = np.take_along_axis(said, last, axis=3)
    wrong = np.take_along_axis(right, last, axis=3)[..., 0] == 0
    # One that cannot be read is no answer that is given again.
    again = ((said == final) & known & (np.arange(strategy.sequential) < last)).any(axis=3) & (
        final[..., 0] != 0
    )
    several = lengths > 1
    return Chains(
        strategy=one.name.text,
        steps=[mean(values[..., step]) for step in steps],
        bins=[(panel, x, [mean(values[rows, :, step]) for step in steps]) for panel, x, rows in bins],
        right=int((both & (before == 1)).sum()),
        spoiled=int((both & (before == 1) & (after == 0)).sum()),
        wrong=int((both & (before == 0)).sum()),
        mended=int((both & (before == 0) & (after == 1)).sum()),
        chains=int(several.sum()),
        stuck=int((several & wrong & again).sum()),
    )


def _attempts(
    run: Collected, one: Measured, strategy: Revision
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Of each attempt (P, S, chain, step) whether it is right (-1: it was not made, or has no label), and a hash of what it
    says, 0 where it cannot be read."""
    problems, seeds = run.shape
    size = strategy.sequential * strategy.parallel
    right = np.full((problems * seeds, size), -1, dtype=np.int8)
    said = np.zeros((problems * seeds, size), dtype=np.int64)
    for cells, index, begins, correct, hashes in _rows(run, one):
        # What an earlier start had made of an outcome that begins anew.
        right[cells[begins]] = -1
        fits = index < size
        right[cells[fits], index[fits]] = correct[fits]
        said[cells[fits], index[fits]] = hashes[fits]
    right[~one.ran.ravel()] = -1
    shape = problems, seeds, strategy.parallel, strategy.sequential
    return right.reshape(shape), said.reshape(shape)


def _rows(
    run: Collected, one: Measured
) -> Iterator[
    tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int8], NDArray[np.int64]]
]:
    """The graded attempts as they stand: cell, index, whether an outcome's begin there, right or wrong, hash."""
    before = (-1, -1)
    for batch in run.candidates(one.name.text)(_COLUMNS):
        kept = pc.and_(
            pc.is_valid(batch["correct"]), pc.is_in(batch["seed"], pa.array(run.seeds, pa.int64()))
        )
        batch = batch.filter(pc.and_(kept, pa.array(run.places.of(batch["problem_id"]) >= 0)))
        if not len(batch):
            continue
        column = np.searchsorted(run.seeds, batch["seed"].to_numpy())
        cells = run.places.of(batch["problem_id"]) * len(run.seeds) + column
        index = batch["index"].to_numpy().astype(np.int64)
        cell_before, index_before = np.append(before[0], cells[:-1]), np.append(before[1], index[:-1])
        begins = (cells != cell_before) | (index <= index_before)
        before = int(cells[-1]), int(index[-1])
        texts = pc.coalesce(batch["ballot"], batch["answer"]).to_pylist()
        hashes = np.array([0 if text is None else hash(text) or 1 for text in texts], dtype=np.int64)
        correct = batch["correct"].to_numpy(zero_copy_only=False).astype(np.int8)
        yield cells, index, begins, correct, hashes
