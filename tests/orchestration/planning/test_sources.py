"""What planning finds to learn from in a run, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from actors.store.schema import CANDIDATES
from orchestration.allocation.value_table import Offer
from orchestration.commands.compare_allocators import _Settings, contest_of
from orchestration.planning.sources import choose, fingerprint, read_known, read_source
from orchestration.runs.run import Run
from tests.support.handmade import rewritten
from tests.support.planned import write_planned

FEW = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(write_planned(tmp_path_factory.mktemp("sources") / "run", problems=FEW))


def test_the_largest_scored_samples_and_all_searches_are_options(run: Run) -> None:
    source = read_source(run, least=FEW)
    assert source.samples.text == "best_of_n(n=16)"
    assert source.counting.rule == "weighted"
    # The cheapest first, whatever order the run has.
    assert source.offer == Offer((1, 2, 4, 8, 16), ("greedy", "beam(n=4,width=4)", "beam(n=16,width=4)"))
    assert len(source.pools) == FEW


def test_values_of_prompts_are_on_offer_where_all_have_theirs(run: Run) -> None:
    """In a comparison with another run, where both have."""
    values = {pool.problem: 0.5 for pool in read_source(run, least=FEW).pools}
    judged, plain = (read_source(run, least=FEW, prompts=known) for known in (values, {}))
    lacking = read_source(run, least=FEW, prompts=dict(list(values.items())[1:]))
    assert [one.offer.prompt for one in (judged, plain, lacking)] == [True, False, False]
    contests = [contest_of(judged, known, _Settings()) for known in (None, judged, plain, lacking)]
    assert [one.offer.prompt for one in contests] == [True, True, False, False]
    assert not contest_of(plain, judged, _Settings()).offer.prompt


def test_strategies_named_are_the_only_options(run: Run) -> None:
    source = read_source(run, ["majority(n=16)"], least=FEW)
    assert source.samples.text == "majority(n=16)"
    assert source.offer == Offer((1, 2, 4, 8, 16))
    assert source.counting.rule == "majority"
    four = read_source(run, ["best_of_n(n=4)", "beam(n=4)"], least=FEW)
    assert four.offer == Offer((1, 2, 4), ("beam(n=4,width=4)",))


def test_what_ends_by_votes_or_makes_training_data_is_no_search() -> None:
    texts = [
        "best_of_n(n=4)",
        "adaptive_consistency(n=8)",
        "monte_carlo(samples=2,rollouts=2)",
        "majority(n=4)",
    ]
    samples, searches = choose("strategies", [*texts, "mcts(n=8)"])
    assert samples.text == "best_of_n(n=4)"
    assert [one.partition("(")[0] for one in searches] == ["mcts"]
    # Without scores of the samples, nothing says what a search adds to them.
    assert choose("strategies", ["majority(n=4)", "beam(n=4)"])[1] == []


@pytest.mark.parametrize("texts", [["greedy"], ["beam(n=4)"]])
def test_without_whole_samples_there_is_no_plan(texts: list[str]) -> None:
    with pytest.raises(UserError, match="none of its strategies draws whole samples"):
        choose("strategies", texts)


def test_a_run_of_which_all_is_right_tells_nothing(tmp_path: Path) -> None:
    folder = write_planned(tmp_path / "run", problems=FEW)
    part = folder / "candidates" / "part-000001.parquet"
    for right, mend in ((True, "is right.*take harder problems"), (False, "is wrong.*take easier problems")):
        table = pq.read_table(part)
        rows = [row | {"correct": right} for row in table.to_pylist()]
        pq.write_table(table.from_pylist(rows, schema=CANDIDATES), part)
        with pytest.raises(UserError, match=mend):
            read_source(Run(folder), least=FEW)


def test_problems_that_lack_something_do_not_count(tmp_path: Path) -> None:
    folder = rewritten(
        write_planned(tmp_path / "run", problems=FEW),
        lambda row: {"state": "unaffordable", "correct": None} if row["problem_id"] == "p0003" else None,
        lambda name: name,
    )
    with pytest.raises(
        UserError, match=f"{FEW - 1} problems of it have all samples of best_of_n.*planning takes {FEW}"
    ):
        read_source(Run(folder), least=FEW)
    assert len(read_source(Run(folder), least=FEW - 1).pools) == FEW - 1


def test_a_run_that_kept_no_steps_is_refused(tmp_path: Path) -> None:
    folder = write_planned(tmp_path / "run", problems=FEW)
    part = folder / "candidates" / "part-000001.parquet"
    table = pq.read_table(part)
    rows = [row | {"steps": None, "token_ids": None} for row in table.to_pylist()]
    pq.write_table(table.from_pylist(rows, schema=CANDIDATES), part)
    with pytest.raises(UserError, match=r"kept no steps of its samples.*keep=all"):
        read_source(Run(folder), least=FEW)


def test_problems_are_told_apart_by_what_they_say(run: Run, tmp_path: Path) -> None:
    pools = read_source(run, least=FEW).pools
    same = Run(write_planned(tmp_path / "same", problems=FEW))
    assert fingerprint(run, pools) == fingerprint(same, pools) == fingerprint(run, pools[::-1])
    assert fingerprint(run, pools) != fingerprint(run, pools[1:])


def test_a_run_that_does_not_say_its_costs_is_refused(tmp_path: Path) -> None:
    folder = write_planned(tmp_path / "run", problems=3)
    record = json.loads((folder / "run.json").read_text())
    del record["models"]
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="does not say what its models cost"):
        read_source(Run(folder), least=3)


def test_what_is_known_is_of_the_same_models_and_of_other_problems(run: Run, tmp_path: Path) -> None:
    source = read_source(run, least=FEW)
    other = Run(write_planned(tmp_path / "other", problems=FEW, ladder=(1, 4), seed=1))
    known = read_known(other, run, source, least=FEW)
    assert len(known.pools) == FEW
    assert known.size == 4
    # The searches that both have.
    assert known.searches == ("greedy", "beam(n=4,width=4)")


def test_nobody_learns_from_what_judges(run: Run, tmp_path: Path) -> None:
    """Problems are told by what they say: names may be the same for others, and others for the same."""
    source = read_source(run, least=FEW)
    same = Run(write_planned(tmp_path / "same", problems=FEW + 3))
    assert [pool.problem for pool in read_known(same, run, source, least=3).pools] == [
        "p0012",
        "p0013",
        "p0014",
    ]
    with pytest.raises(UserError, match="3 problems of it are not judged too, and planning takes 4"):
        read_known(same, run, source, least=4)
