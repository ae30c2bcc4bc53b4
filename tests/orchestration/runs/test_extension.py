"""What a run has drawn and scored once is never drawn or scored again: by a longer command, by more seeds, by another run.

Everything but Ray is the real thing; one run is through Ray as well.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from actors.store.schema import CANDIDATES, OUTCOMES
from orchestration.api import Run, evaluate
from tests.support.here import without_ray

FIRST = ["majority(n=4)"]
MORE = ["majority(n=4)", "majority(n=16)", "beam(n=4,width=2)"]

# Who pays for what several strategies share, and how long it takes, is not theirs.
PAID = ("policy_tokens", "verifier_tokens", "spent_flops", "spent_flops_exact", "wall_seconds")

# Equal up to the rounding of another batch.
ROUNDED = ("logprobs", "scores")


class Made:
    """Runs with the tiny models, each made once."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.folder = folder
        self.words = [*words, "dataset.count=4"]

    def run(
        self,
        name: str,
        strategies: list[str],
        *more: str,
        seeds: tuple[int, ...] = (0,),
        reuse: str = "",
        ray: bool = False,
    ) -> Run:
        words = [*self.words, *more, *([f"reuse=[{self.folder / reuse}]"] if reuse else [])]
        with nullcontext() if ray else without_ray():
            return evaluate(strategies, folder=self.folder / name, seeds=seeds, settings=words)


@pytest.fixture(scope="module")
def made(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("runs"), words)


@pytest.fixture(scope="module")
def extended(made: Made) -> Run:
    """A short command, and then a longer one in the same folder."""
    made.run("extended", FIRST)
    return made.run("extended", MORE)


@pytest.fixture(scope="module")
def fresh(made: Made) -> Run:
    """The longer command alone."""
    return made.run("fresh", MORE)


def sessions(run: Run, name: str = "policy_tokens") -> list[int]:
    return [session[name] for session in run.info["sessions"]]


def total(run: Run, column: str) -> int:
    number: int = pc.sum(run.outcomes()[column]).as_py()
    return number


def stored(run: Run, table: str) -> pa.Table:
    parts = sorted((run.folder / table).glob("*.parquet"))
    return pa.concat_tables(map(pq.read_table, parts))


def check_same_rows(one: Run, other: Run) -> None:
    """All that their strategies found, row by row."""
    order = [(name, "ascending") for name in ("problem_id", "strategy", "seed")]
    columns = [name for name in OUTCOMES.names if name not in PAID]
    tables = [run.outcomes().select(columns).sort_by(order) for run in (one, other)]
    assert tables[0].equals(tables[1])
    rows = [run.candidates().sort_by([*order, ("index", "ascending")]).to_pylist() for run in (one, other)]
    assert len(rows[0]) == len(rows[1]) > 0
    for mine, yours in zip(*rows, strict=True):
        for name in CANDIDATES.names:
            expected: Any = yours[name]
            if name in ROUNDED:
                expected = pytest.approx(expected, abs=1e-4)
            assert mine[name] == expected


def test_a_longer_command_draws_what_was_not_drawn_and_no_more(extended: Run, fresh: Run) -> None:
    before, after = sessions(extended)
    [whole] = sessions(fresh)
    assert before > 0
    assert after > 0
    assert before + after == whole
    for column in ("policy_tokens", "verifier_tokens", "spent_flops"):
        assert total(extended, column) == total(fresh, column) > 0
    assert extended.info["spent_flops"] == fresh.info["spent_flops"]
    check_same_rows(extended, fresh)


@pytest.mark.parametrize("table", ["samples", "scores"])
def test_nothing_is_stored_twice(extended: Run, fresh: Run, table: str) -> None:
    keys = [stored(run, table)["key"].to_pylist() for run in (extended, fresh)]
    assert len(keys[0]) == len(set(keys[0]))
    assert sorted(keys[0]) == sorted(keys[1])


def test_all_tokens_that_were_paid_are_stored(fresh: Run) -> None:
    assert pc.sum(pc.list_value_length(stored(fresh, "samples")["token_ids"])).as_py() == total(
        fresh, "policy_tokens"
    )


def test_a_run_may_go_without_likelihoods_and_go_on_with_them(made: Made, fresh: Run) -> None:
    """The same outcomes; a step drawn without them says so, and is not drawn again for their sake."""
    bare = made.run("bare", FIRST, "policy.likelihoods=false")
    assert all(not row for row in bare.candidates()["logprobs"].to_pylist())
    assert pc.sum(pc.list_value_length(stored(bare, "samples")["logprobs"])).as_py() == 0
    run = made.run("bare", MORE)
    assert sum(sessions(run)) == sum(sessions(fresh))
    order = [(name, "ascending") for name in ("problem_id", "strategy", "seed")]
    columns = [name for name in OUTCOMES.names if name not in PAID]
    tables = [one.outcomes().select(columns).sort_by(order) for one in (run, fresh)]
    assert tables[0].equals(tables[1])
    told = {
        (row["strategy"], bool(row["logprobs"])) for row in run.candidates().to_pylist() if row["step_tokens"]
    }
    assert ("majority(n=4)", False) in told
    assert ("beam(n=4,width=2)", True) in told


def test_another_run_draws_nothing_of_what_a_run_has(made: Made, extended: Run, fresh: Run) -> None:
    """In other processes, too, of which one lends what there is."""
    run = made.run("second", MORE, reuse="extended", ray=True)
    assert sessions(run) == [0]
    assert sessions(run, "spent") == [0]
    for column in ("policy_tokens", "verifier_tokens", "spent_flops", "spent_flops_exact"):
        assert total(run, column) == 0
    assert total(run, "attributed_flops") == total(fresh, "attributed_flops") > 0
    check_same_rows(run, fresh)


def test_more_seeds_draw_what_is_theirs_alone(made: Made, extended: Run, fresh: Run) -> None:
    whole = made.run("both", MORE, seeds=(0, 1))
    more = made.run("extended", MORE, seeds=(0, 1))
    assert sessions(more)[-1] == sessions(whole)[0] - sessions(fresh)[0] > 0
    assert more.info["spent_flops"] == whole.info["spent_flops"]
    check_same_rows(more, whole)
    # A run of the second seed alone, beside one that has both.
    alone = made.run("second seed", ["majority(n=8)"], seeds=(1,), reuse="extended")
    assert sessions(alone) == [0]
