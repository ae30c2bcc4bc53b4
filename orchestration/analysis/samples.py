"""The sets of independent samples that a run's estimates rest on: which strategy's they are, and their blocks as they pass.

It knows the columns of candidates, nothing of estimates. Invariant: all sets are of one strategy, so of one sampling and one
size, and each is whole: one that lacks samples (a budget that ended, an answer that failed) is left out, for what is left of
it would be no fair draw. No more of them are in memory than one batch of the table holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from actors.strategy import Sampling
from orchestration.analysis.collect import Array, Collected, Flags, Measured
from orchestration.analysis.subsets import SampleSet
from orchestration.problems.graders.ballots import classes, says_most
from orchestration.strategies.selection import Aggregation, aggregate, likelihood_weight

_COLUMNS = (
    "problem_id",
    "seed",
    "index",
    "answer",
    "ballot",
    "correct",
    "finish_reason",
    "logprobs",
    "scores",
    "step_tokens",
)


@dataclass(frozen=True, slots=True)
class Block:
    """Some sets (B) of K samples each: `ids` are their problems, `rows` and `columns` (B,) the places of problem and seed.

    `answers` are the classes that votes count (`problems.graders.ballots`), None where none could be read; of one class that
    with the highest of `ranks` speaks.
    `likelihoods` (B, K) are `selection.likelihood_weight`, NaN in a set of which any sample, `bare` in number, was drawn
    without the likelihoods of its tokens. `prefixes` has for each set how many of its samples begin with each distinct prefix
    of steps, and how many tokens that prefix's last step has; None where steps were not kept, or not asked for.
    """

    ids: list[str]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    answers: list[list[str | None]]
    ranks: list[list[int]]
    correct: Flags
    finished: Flags
    step_scores: list[list[tuple[float, ...]]]
    likelihoods: Array
    bare: int
    prefixes: list[tuple[NDArray[np.int64], NDArray[np.int64]]] | None

    def sets(self, values: Array | None = None, first: int | None = None) -> list[SampleSet]:
        """Sample sets whose votes weigh `values` (B, K), or each the same; of each the `first` samples, or all."""
        if values is None:
            values = np.ones(self.correct.shape)
        return [
            SampleSet(one, answers[:first], right[:first], ended[:first], weights[:first], ranks[:first])
            for one, answers, right, ended, weights, ranks in zip(
                self.ids,
                self.answers,
                self.correct.tolist(),
                self.finished.tolist(),
                values.tolist(),
                self.ranks,
                strict=True,
            )
        ]

    def scores(self, how: Aggregation = "last") -> Array:
        """The verifier's value of each sample (B, K), NaN where it has none."""
        return np.array(
            [[aggregate(steps, how) if steps else np.nan for steps in row] for row in self.step_scores],
            dtype=np.float64,
        ).reshape(self.correct.shape)


def largest_set(strategies: Sequence[Measured], labelled: Flags) -> Measured | None:
    """The strategy whose samples tell most, None where no set is whole: that of the largest N, at whatever temperature, a
    scored one first. One whose sets mostly fail comes after all others, and so do draws at temperature 0, which are one.
    """

    def rank(one: Measured) -> tuple[bool, bool, int, bool, int, bool]:
        assert one.name.choice is not None
        asked = int((one.asked & labelled[:, None]).sum())
        sampling = one.name.choice.sampling
        return (
            2 * one.whole >= asked,
            sampling.temperature > 0,
            one.name.n,
            one.name.choice.scored,
            one.whole,
            sampling == Sampling(),
        )

    return max((one for one in strategies if one.name.choice and one.whole), key=rank, default=None)


def blocks(run: Collected, source: Measured, *, steps: bool) -> Iterator[Block]:
    """The sets that `source` drew, each once, in blocks; with their prefixes where `steps` are asked for.

    Of an answer that was made again the newest block counts. An outcome's candidates stand together, by rising index, in one
    part of the table; they may straddle batches.
    """
    assert source.made is not None
    # One that ended without an answer in the end has no samples, whatever an earlier start had drawn.
    left = (source.made * source.ran).ravel()
    rest: list[pa.RecordBatch] = []
    names = [*_COLUMNS, *(("steps",) if steps else ())]
    for batch in run.candidates(source.name.text)(names):
        rows = _known(run, batch)
        if not len(rows):
            continue
        table = pa.Table.from_batches([*rest, rows])
        starts = _starts(run, table)
        if len(starts) > 1:
            found = _whole(run, source.name.n, left, table.slice(0, starts[-1]), starts[:-1])
            if found is not None:
                yield found
        rest = table.slice(starts[-1]).to_batches()
    if rest:
        table = pa.Table.from_batches(rest)
        found = _whole(run, source.name.n, left, table, _starts(run, table))
        if found is not None:
            yield found
    # What texts took is not kept for others.
    pa.default_memory_pool().release_unused()


def _known(run: Collected, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Graded candidates of outcomes that are known: a run that goes on may have newer ones."""
    known = pc.and_(pc.is_valid(batch["correct"]), pc.is_in(batch["seed"], pa.array(run.seeds, pa.int64())))
    return batch.filter(pc.and_(known, pa.array(run.places.of(batch["problem_id"]) >= 0)))


def _cells(run: Collected, table: pa.Table) -> NDArray[np.int64]:
    column = np.searchsorted(run.seeds, table["seed"].to_numpy())
    cells: NDArray[np.int64] = run.places.of(table["problem_id"].combine_chunks()) * len(run.seeds) + column
    return cells


def _starts(run: Collected, table: pa.Table) -> NDArray[np.int64]:
    """The rows where an outcome's candidates begin."""
    cells, index = _cells(run, table), table["index"].to_numpy()
    begins = (cells[1:] != cells[:-1]) | (index[1:] <= index[:-1])
    return np.flatnonzero(np.concatenate([[True], begins]))


def _whole(
    run: Collected, size: int, left: NDArray[np.uint8], table: pa.Table, starts: NDArray[np.int64]
) -> Block | None:
    """The whole sets among the outcomes that begin at `starts`; `left` says how many of each cell are still to come."""
    cells = _cells(run, table)[starts]
    ends = np.append(starts[1:], len(table))
    good = []
    for start, end, cell in zip(starts.tolist(), ends.tolist(), cells.tolist(), strict=True):
        if left[cell]:
            left[cell] -= 1
            if not left[cell] and end - start == size:
                good.append(start)
    if not good:
        return None
    table = table.take((np.array(good)[:, None] + np.arange(size)).ravel())
    shape = len(good), size
    cells = _cells(run, table)[::size]
    # Parts of earlier versions have no ballots: there an answer votes with those that read the same.
    ballots = pc.coalesce(table["ballot"], table["answer"]).to_pylist()
    scores = [tuple(one or ()) for one in table["scores"].to_pylist()]
    likelihoods, bare = _likelihoods(table, shape)
    return Block(
        ids=table["problem_id"].to_pylist()[::size],
        rows=cells // len(run.seeds),
        columns=cells % len(run.seeds),
        answers=[_classes(ballots[i : i + size]) for i in range(0, len(ballots), size)],
        ranks=[says_most([one or "" for one in ballots[i : i + size]]) for i in range(0, len(ballots), size)],
        correct=table["correct"].to_numpy().astype(bool).reshape(shape),
        finished=pc.equal(table["finish_reason"], "eos").to_numpy().astype(bool).reshape(shape),
        step_scores=[scores[i : i + size] for i in range(0, len(scores), size)],
        likelihoods=likelihoods,
        bare=bare,
        prefixes=_prefixes(table, size) if "steps" in table.column_names else None,
    )


def _classes(ballots: list[str | None]) -> list[str | None]:
    """The class of each answer of one set, as a vote over all of it has them; None stays None."""
    found = iter(classes([one for one in ballots if one is not None]))
    return [None if one is None else next(found) for one in ballots]


def _likelihoods(table: pa.Table, shape: tuple[int, int]) -> tuple[Array, int]:
    """The samples' likelihoods, and how many have steps and none of them: one is enough, and no vote of its set can be
    weighed."""
    samples = [
        (sums or (), ends or ())
        for sums, ends in zip(table["logprobs"].to_pylist(), table["step_tokens"].to_pylist(), strict=True)
    ]
    bare = np.array([bool(ends) and not sums for sums, ends in samples]).reshape(shape)
    values = np.array([likelihood_weight(*one) for one in samples]).reshape(shape)
    return np.where(bare.any(axis=1, keepdims=True), np.nan, values), int(bare.sum())


def _prefixes(table: pa.Table, size: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]] | None:
    """Samples that share it, and tokens of its last step, of each distinct prefix of steps, set by set."""
    if table["steps"].null_count:
        return None
    found = []
    steps, ends = table["steps"].to_pylist(), table["step_tokens"].to_pylist()
    for start in range(0, len(steps), size):
        counts: dict[str, tuple[int, int]] = {}
        for texts, offsets in zip(steps[start : start + size], ends[start : start + size], strict=True):
            prefix, before = "", 0
            for text, end in zip(texts, offsets, strict=True):
                prefix += f"{text}\0"
                counts[prefix] = (counts.get(prefix, (0, 0))[0] + 1, end - before)
                before = end
        pairs = np.array(list(counts.values()), dtype=np.int64).reshape(-1, 2)
        found.append((pairs[:, 0], pairs[:, 1]))
    return found
