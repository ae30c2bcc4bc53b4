"""What a reviser learns of its own chains, by its statistics on made-up rows: each rule of ReST-EM, and a tiny training."""

from __future__ import annotations

import json
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from actors.store.schema import CANDIDATES, OUTCOMES, RUN_FORMAT
from orchestration.commands.main import main
from orchestration.problems.revising import RevisionFormat, trained_format
from orchestration.runs.run import Run
from orchestration.training import pair_store
from orchestration.training.chain_data import Chained, balanced, chains_of, first_right
from orchestration.training.pair_store import counted_pairs, read_pairs
from orchestration.training.reviser import RevisionTraining
from orchestration.training.reviser_job import ReviserJob, make_reviser
from orchestration.training.revision_data import Pair
from tests.support.chains import attempt, write_chains
from tests.support.model_folders import EOS, Folder


def chain(*right: bool | None, start: int = 0, **more: Any) -> list[dict[str, Any]]:
    """The rows of one chain, attempt by attempt right, wrong, or (None) without a readable answer."""
    return [
        attempt(
            start + step,
            [start + step + 10],
            bool(one),
            parent=start + step - 1 if step else -1,
            answer=None if one is None else "7",
            **more,
        )
        for step, one in enumerate(right)
    ]


def indices(pairs: list[Pair]) -> list[tuple[list[int], int]]:
    return [([one.index for one in pair.attempts], pair.answer.index) for pair in pairs]


def test_a_chain_ends_with_its_first_right_answer_and_nothing_behind_it_counts() -> None:
    found = Chained()
    rows = [
        *chain(False, False, True, False, True),
        *chain(True, False, True, start=10),
        *chain(False, False, start=20),
        *chain(False, True, start=30, kept=True),
    ]
    pairs = first_right(rows, 4, found)
    assert indices(pairs) == [([0, 1], 2), ([], 10), ([30], 31)]
    [first, *_] = pairs
    assert first.answer.token_ids == (12, EOS)
    assert [one.token_ids for one in first.attempts] == [(10, EOS), (11, EOS)]
    # In characters, of the last attempt to the answer: [11] and [12].
    assert [(pair.wrong, pair.distance) for pair in pairs] == [(2, 1), (0, None), (1, 1)]
    assert str(found) == "12 attempts in 4 chains; up to a right answer, by length: 1 of 1, 1 of 2, 1 of 3"


def test_a_chain_that_is_longer_before_its_first_right_answer_teaches_nothing() -> None:
    found = Chained()
    assert indices(first_right(chain(*[False] * 4, True), 4, found)) == [([0, 1, 2, 3], 4)]
    assert first_right(chain(*[False] * 5, True), 4, found) == []
    assert found.lengths == {5: 1}


def test_what_was_cut_off_or_cannot_be_read_was_shown_to_none_and_has_no_length() -> None:
    found = Chained()
    rows = chain(False, None, True)
    # Its answer is right, but it did not end: it is none, and the chain goes on.
    more = chain(False, True, True, start=10)
    more[1]["finish_reason"] = "length"
    pairs = first_right([*rows, *more, *chain(None, None, None, None, None, False, True, start=20)], 4, found)
    assert indices(pairs) == [([0], 2), ([10], 12), ([25], 26)]
    assert str(found) == (
        "13 attempts in 3 chains; up to a right answer, by length: 3 of 2; dropped: 6 without a readable answer, "
        "1 cut off at max_tokens"
    )


def test_equal_answers_behind_equal_attempts_are_one() -> None:
    rows = [
        attempt(0, [30], False),
        attempt(1, [50], True, parent=0),
        attempt(2, [30], False),
        attempt(3, [50], True, parent=2),
        attempt(4, [31], False),
        attempt(5, [50], True, parent=4),
        attempt(6, [50], True),
    ]
    found = Chained()
    assert indices(first_right(rows, 4, found)) == [([0], 1), ([4], 5), ([], 6)]
    assert found.dropped == {"equal to another of their problem": 1}


def made_up(outcomes: int, seed: int) -> list[list[dict[str, Any]]]:
    """Rows of outcomes with 8 chains of 6 attempts each, of which a third is right."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(outcomes):
        told = {"key": f"k{seed}-{number}", "problem_id": f"p{number}"}
        rows: list[dict[str, Any]] = []
        for start in range(0, 48, 6):
            rows += chain(*(bool(one) for one in rng.random(6) < 1 / 3), start=start, **told)
        found.append(rows)
    return found


def run_of(folder: Path, *outcomes: list[dict[str, Any]]) -> Run:
    """A run with these outcomes' candidates."""
    candidates = [row for rows in outcomes for row in rows]
    told = [
        {"key": rows[0]["key"], "strategy": rows[0]["strategy"], "state": "answered"} for rows in outcomes
    ]
    for name, schema, content in (("candidates", CANDIDATES, candidates), ("outcomes", OUTCOMES, told)):
        (folder / name).mkdir(parents=True)
        table = pa.Table.from_pylist(content, schema=schema)
        pq.write_table(table, folder / name / "part-000000.parquet", row_group_size=1000)
    (folder / "run.json").write_text(json.dumps({"format": RUN_FORMAT, "identity": {}}))
    return Run(folder)


def chosen(runs: list[Run], seed: int = 0) -> list[Pair]:
    problems = {f"p{number}" for number in range(1000)}
    balance = balanced(chains_of(runs, problems, 4, seed, Chained()))
    return [pair for some in chains_of(runs, problems, 4, seed, Chained()) for pair in balance.chosen(some)]


def test_every_length_is_as_frequent_and_the_rarest_is_all_there(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", *made_up(80, seed=1))
    found = Chained()
    every = [pair for some in chains_of([run], {f"p{n}" for n in range(80)}, 4, 0, found) for _, pair in some]
    # As the first success of draws of one third: it falls by a third with each step.
    total = 80 * 8
    for length in range(1, 6):
        share = (2 / 3) ** (length - 1) / 3
        assert abs(found.lengths[length] - total * share) < 5 * (total * share * (1 - share)) ** 0.5
    pairs = chosen([run])
    by_length = Counter(len(pair.attempts) for pair in pairs)
    rarest = found.lengths[5]
    assert by_length == dict.fromkeys(range(5), rarest)
    kept = [pair for pair in every if len(pair.attempts) == 4]
    assert [pair for pair in pairs if len(pair.attempts) == 4] == kept
    # Drawn at random: no place in the run is preferred (mean and standard deviation of a uniform draw).
    firsts = [int(pair.problem_id[1:]) for pair in pairs if not pair.attempts]
    assert abs(np.mean(firsts) - 39.5) < 5 * 23.1 / len(firsts) ** 0.5
    assert chosen([run], seed=1) != pairs


def test_the_choice_hangs_on_no_order_and_an_outcome_counts_once(tmp_path: Path) -> None:
    outcomes = made_up(20, seed=2)
    runs = [run_of(tmp_path / name, *some) for name, some in (("a", outcomes[:12]), ("b", outcomes[8:]))]
    once = {(pair.problem_id, pair.answer.index) for pair in chosen(runs)}
    assert {(pair.problem_id, pair.answer.index) for pair in chosen(runs[::-1])} == once
    assert len(chosen(runs)) == len(once)


def test_only_chains_of_a_reviser_are_read(tmp_path: Path) -> None:
    """Neither samples of the policy that stand beside them, nor slots that were rewritten from several solutions, nor what is
    of no problem that was asked for."""
    run = run_of(
        tmp_path,
        chain(False, True, key="a", problem_id="p1"),
        chain(False, True, key="b", problem_id="p1", strategy="majority(n=2)"),
        chain(False, True, key="c", problem_id="p1", strategy="rsa(population=2,k=1,rounds=1)"),
        chain(False, True, key="d", problem_id="other"),
    )
    found = Chained()
    [[(_, pair)]] = list(chains_of([run], {"p1"}, 4, 0, found))
    assert (pair.problem_id, found.attempts) == ("p1", 2)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    return Folder("small", config=(("max_position_embeddings", 512),)).save(folder / "policy")


TINY = RevisionTraining("muon", lr=0.01, matrix_lr=0.02, epochs=2, evaluations=1, held_out_share=0.3, after=5)


def test_from_runs_of_chains_to_a_reviser_that_repeats_what_was_right(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_chains(tmp_path / "run", policy)
    job = ReviserJob(
        str(policy),
        "countdown_chain",
        chains=[str(tmp_path / "run")],
        format=RevisionFormat(first=True),
        training=TINY,
    )
    said: list[str] = []
    # A part for each outcome, so that a start can be interrupted between them.
    monkeypatch.setattr(pair_store, "POOLS", 1)
    written, numbers = pair_store.pq.write_table, count(1)

    def breaking(*args: Any, **kwargs: Any) -> None:
        if next(numbers) == 8:
            raise KeyboardInterrupt
        written(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(pair_store.pq, "write_table", breaking)
        with pytest.raises(KeyboardInterrupt):
            make_reviser(job, tmp_path / "out", say=said.append)
    before = {part.name: part.stat().st_mtime_ns for part in (tmp_path / "out" / "pairs").glob("*.parquet")}
    assert len(before) == 7
    told = make_reviser(job, tmp_path / "out", say=said.append)
    after = {part.name: part.stat().st_mtime_ns for part in (tmp_path / "out" / "pairs").glob("*.parquet")}
    assert before.items() <= after.items()
    assert len(after) == 16
    assert said[0] == (
        "reviser: 64 attempts in 32 chains; up to a right answer, by length: 16 of 2; 16 of each length are used; 16 pairs"
    )
    assert told["pairs"] + told["held_out_pairs"] == told["data"]["pairs"] == 16
    assert told["held_out_losses"][-1] < told["held_out_losses"][0]
    assert {(one.attempts, one.answer) for one in read_pairs(tmp_path / "out" / "pairs")} == {
        (((30, EOS),), (50, EOS))
    }
    assert counted_pairs(tmp_path / "out" / "pairs")["by_attempts"] == {"1": 16}
    assert trained_format(tmp_path / "out") == RevisionFormat(first=True)


def test_chains_that_nothing_can_be_learnt_from_are_refused(policy: Path, tmp_path: Path) -> None:
    write_chains(tmp_path / "run", policy)
    chains = [str(tmp_path / "run")]
    with pytest.raises(
        UserError, match=r"^chains: no chain held out goes from a wrong answer to a right one"
    ):
        make_reviser(
            ReviserJob(str(policy), "gcd", chains=chains, training=RevisionTraining(held_out_share=0.001)),
            tmp_path / "out",
        )
    assert not (tmp_path / "out" / "model.safetensors").exists()
    with pytest.raises(UserError, match=r"^policy = '.*nothing': there is no model's folder"):
        make_reviser(ReviserJob(str(tmp_path / "nothing"), "gcd", chains=chains), tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["parts=[{problems: 3, seed: 1, strategy: majority(n=2)}]"], "parts = '[{problems: 3,"),
        (["reuse=[runs/old]"], "reuse = ['runs/old']: with chains nothing is drawn"),
        (["keep=0.5"], "keep = '0.5': with chains nothing is drawn: leave out one of the two"),
        (["nearest=false"], "nearest = 'false': with chains nothing is drawn: leave out one of the two"),
        (["times=2"], "times = '2': with chains nothing is drawn: leave out one of the two"),
        (["chains=[]", "keep=1.5"], "keep = 1.5: a share from 0 to 1"),
        (["chains=[]", "times=0"], "times = 0: each right answer needs at least one pair"),
    ],
    ids=["parts", "reuse", "keep", "nearest", "times", "share", "none"],
)
def test_settings_of_samples_are_refused_beside_chains(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = ["train", "reviser", str(tmp_path / "out"), "domain=countdown", "chains=[runs/chains]"]
    assert main([*begun, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
