"""What a reviser learns, by its statistics on made-up pools of answers: each rule of the paper's recipe, and what is kept."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.store.schema import CANDIDATES, OUTCOMES, RUN_FORMAT
from orchestration.runs.run import Run
from orchestration.training import pair_store
from orchestration.training.pair_store import counted_pairs, read_pairs, write_pairs
from orchestration.training.revision_data import Choice, Pair, Pool, pairs_of, pool_of, pools
from orchestration.training.step_data import Drawn


def row(index: int, text: str, right: bool, **more: Any) -> dict[str, Any]:
    """A sample as a run stores it; its ids are its letters and an end."""
    lines = text.splitlines(keepends=True)
    base: dict[str, Any] = {
        "key": "k",
        "problem_id": "p",
        "strategy": "majority(n=64)",
        "seed": 0,
        "index": index,
        "parent": -1,
        "depth": 0,
        "steps": lines,
        "token_ids": [*map(ord, text), 1],
        "finish_reason": "eos",
        "answer": text,
        "correct": right,
        "kept": True,
    }
    return base | more


def made(problem: str, right: int, wrong: int, seed: int) -> Pool:
    """A pool of answers of random letters."""
    rng = np.random.default_rng(seed)
    texts = ["".join(chr(97 + int(one)) for one in rng.integers(0, 4, 12)) for _ in range(right + wrong)]
    return pool_of(
        [row(i, f"{text}{i}", i < right, problem_id=problem) for i, text in enumerate(texts)], Drawn()
    )


MANY = [made(f"p{number}", 8, 6, number) for number in range(500)]
PAIRS = [pair for pool in MANY for pair in pairs_of(pool, Choice(4, seed=0))]


def uniform(counts: Counter[int], values: range) -> bool:
    """Whether all values came about equally often: within five standard deviations."""
    total, share = counts.total(), 1 / len(values)
    slack = 5 * (total * share * (1 - share)) ** 0.5
    return set(counts) == set(values) and all(abs(counts[one] - total * share) <= slack for one in values)


def distance(one: str, other: str) -> int:
    """Edit distance by the textbook, not by the library."""
    line = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, line[0] = line[0], i
        for j, b in enumerate(other, 1):
            before, line[j] = line[j], min(line[j] + 1, line[j - 1] + 1, before + (a != b))
    return line[-1]


def test_every_right_answer_has_0_to_4_wrong_ones_each_number_as_likely() -> None:
    assert len(PAIRS) == 500 * 8
    assert uniform(Counter(len(pair.attempts) for pair in PAIRS), range(5))


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_fewer_wrong_answers_cut_the_range(wrong: int) -> None:
    found = [
        pair for seed in range(80) for pair in pairs_of(made(f"q{seed}", 4, wrong, seed), Choice(4, seed=0))
    ]
    assert uniform(Counter(len(pair.attempts) for pair in found), range(wrong + 1))
    assert all(pair.wrong == wrong for pair in found)


def test_the_last_attempt_is_the_nearest_in_characters() -> None:
    pools_by_id = {pool.problem_id: pool for pool in MANY}
    shown = [pair for pair in PAIRS[:200] if pair.attempts]
    for pair in shown:
        distances = [distance(pair.answer.text, one.text) for one in pools_by_id[pair.problem_id].wrong]
        assert distance(pair.answer.text, pair.attempts[-1].text) == min(distances) == pair.distance
    assert len(shown) > 100


def test_the_other_attempts_are_distinct_wrong_ones_at_random() -> None:
    pool = made("p", 1, 6, 3)
    seen: Counter[int] = Counter()
    firsts: Counter[int] = Counter()
    for seed in range(3000):
        [pair] = pairs_of(pool, Choice(4, seed))
        others = [one.index for one in pair.attempts[:-1]]
        assert len(set(others)) == len(others)
        assert pair.attempts == () or pair.attempts[-1].index not in others
        seen.update(others)
        firsts.update(others[:1])
    assert len(seen) == 5
    for counts in (seen, firsts):
        mean = counts.total() / 5
        assert all(abs(count - mean) < 5 * mean**0.5 for count in counts.values())


def test_a_share_of_the_right_answers_is_kept_and_the_pairs_of_the_paper_stay() -> None:
    share, stands = 0.5, Counter[int]()
    for pool in MANY:
        plain, found = pairs_of(pool, Choice(4, seed=0)), pairs_of(pool, Choice(4, seed=0, keep=share))
        assert found[: len(plain)] == plain
        for pair in found[len(plain) :]:
            assert pair.attempts[-1] == pair.answer
            assert pair.distance is None
            assert set(pair.attempts[:-1]) <= set(pool.wrong)
            assert len(set(pair.attempts)) == len(pair.attempts)
            stands[len(pair.attempts)] += 1
    assert uniform(stands, range(1, 5))
    right = sum(len(pool.right) for pool in MANY)
    assert abs(stands.total() - share * right) < 5 * (right * share * (1 - share)) ** 0.5
    assert len(pairs_of(MANY[0], Choice(4, seed=0, keep=1.0))) == 16


def test_without_the_nearest_the_last_attempt_is_any_wrong_one() -> None:
    pool = made("p", 1, 6, 3)
    lasts: Counter[int] = Counter()
    counts: Counter[int] = Counter()
    for seed in range(3000):
        [pair] = pairs_of(pool, Choice(4, seed, nearest=False))
        shown = [one.index for one in pair.attempts]
        assert len(set(shown)) == len(shown)
        counts[len(shown)] += 1
        lasts.update(shown[-1:])
        assert pair.distance == (distance(pair.answer.text, pair.attempts[-1].text) if shown else None)
    assert uniform(counts, range(5))
    assert uniform(lasts, range(1, 7))


def test_an_answer_may_have_several_pairs_with_attempts_drawn_anew() -> None:
    once = [pair for pool in MANY for pair in pairs_of(pool, Choice(4, seed=0, keep=0.5))]
    many = [pair for pool in MANY for pair in pairs_of(pool, Choice(4, seed=0, keep=0.5, times=3))]
    plain = [pair for pair in many if pair.answer not in pair.attempts]
    assert Counter(pair.answer for pair in plain) == Counter({one: 3 for pool in MANY for one in pool.right})
    assert uniform(Counter(len(pair.attempts) for pair in plain), range(5))
    assert [pair for pair in once if pair not in many] == [], "those of one time stay"
    same = sum(
        first.attempts == second.attempts
        for first, second in itertools.pairwise(plain)
        if first.answer == second.answer
    )
    assert same < len(plain) / 3
    kept = len(many) - len(plain)
    assert abs(kept - 0.5 * len(plain)) < 5 * (len(plain) / 4) ** 0.5


def test_without_wrong_answers_nothing_is_drawn_anew() -> None:
    pairs = pairs_of(made("q", 3, 0, 0), Choice(4, seed=0, keep=1.0, times=4))
    assert len(pairs) == len(set(pairs)) == 6


def test_a_kept_answer_needs_no_wrong_one() -> None:
    [plain, kept] = pairs_of(made("q", 1, 0, 0), Choice(4, seed=0, keep=1.0))
    assert (plain.attempts, kept.attempts) == ((), (kept.answer,))


def test_answers_that_cannot_be_read_or_were_cut_off_are_dropped_and_copies_count_once() -> None:
    drawn = Drawn()
    pool = pool_of(
        [
            row(0, "right", True),
            row(1, "right", True),
            row(2, "wrong\nline", False),
            row(3, "unreadable", False, answer=None),
            row(4, "cut", True, finish_reason="length"),
        ],
        drawn,
    )
    assert [one.text for one in pool.right] == ["right"]
    assert [one.text for one in pool.wrong] == ["wrong\nline"]
    assert str(drawn) == (
        "5 samples, 2 of them used; dropped: 1 equal to another of their problem, 1 without a readable answer, "
        "1 cut off at max_tokens"
    )


def test_the_same_samples_give_the_same_pairs_in_any_order_and_another_seed_others() -> None:
    forward = [pairs_of(pool, Choice(4, 5)) for pool in MANY[:30]]
    assert [pairs_of(pool, Choice(4, 5)) for pool in reversed(MANY[:30])] == forward[::-1]
    assert [pairs_of(pool, Choice(4, 6)) for pool in MANY[:30]] != forward


def run_of(folder: Path, *parts: list[dict[str, Any]]) -> Run:
    """A finished run of these candidates, a part each."""
    for name in ("candidates", "outcomes"):
        (folder / name).mkdir(parents=True)
    for number, rows in enumerate(parts):
        keys = {one["key"]: one for one in rows}
        outcomes = [
            {"key": key, "problem_id": one["problem_id"], "strategy": one["strategy"], "state": "answered"}
            for key, one in keys.items()
        ]
        for name, schema, content in (("candidates", CANDIDATES, rows), ("outcomes", OUTCOMES, outcomes)):
            table = pa.Table.from_pylist(content, schema=schema)
            pq.write_table(table, folder / name / f"part-{number:06}.parquet")
    (folder / "run.json").write_text(json.dumps({"format": RUN_FORMAT}))
    return Run(folder)


def test_samples_of_a_run_are_read_by_problem_and_nothing_else(tmp_path: Path) -> None:
    first = [row(i, f"a{i}", i == 0, key="a", problem_id="a") for i in range(3)]
    first += [row(0, "other", True, key="b", problem_id="a", strategy="greedy")]
    first += [row(0, "old", True, key="c", problem_id="c")]
    second = [row(i, f"c{i}", False, key="c", problem_id="c") for i in range(2)]
    second += [row(0, "d0", True, key="d", problem_id="d")]
    second += [row(1, "rollout", True, key="d", problem_id="d", kept=False, parent=0, depth=1)]
    drawn = Drawn()
    second += [row(0, "e0", True, key="e", problem_id="not asked for")]
    found = list(pools(run_of(tmp_path, first, second), "majority(n=64)", {"a", "c", "d"}, drawn))
    told = [(one.problem_id, [a.text for a in one.right], [a.text for a in one.wrong]) for one in found]
    assert told == [("a", ["a0"], ["a1", "a2"]), ("c", [], ["c0", "c1"]), ("d", ["d0"], [])]
    assert drawn.samples == 6


def test_pairs_are_parquet_for_people_and_an_interrupted_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_store, "POOLS", 10)
    choose = partial(pairs_of, choice=Choice(4, seed=0))
    many = [made(f"p{number}", 2, 2, number) for number in range(21)]
    asked: list[str] = []

    def breaking(pool: Pool) -> list[Pair]:
        asked.append(pool.problem_id)
        if len(asked) == 15:
            raise KeyboardInterrupt
        return choose(pool)

    with pytest.raises(KeyboardInterrupt):
        write_pairs(tmp_path / "parts", many, breaking, {"seed": 0})
    asked.clear()
    write_pairs(
        tmp_path / "parts", many, lambda pool: asked.append(pool.problem_id) or choose(pool), {"seed": 0}
    )  # type: ignore[func-returns-value]
    assert asked == [pool.problem_id for pool in many[10:]], "a part that stood was not made again"
    write_pairs(tmp_path / "whole", many, choose, {"seed": 0})
    assert list(read_pairs(tmp_path / "parts")) == list(read_pairs(tmp_path / "whole"))
    [first, *_] = pq.read_table(tmp_path / "whole" / "part-00000.parquet").to_pylist()
    [pair, *_] = choose(many[0])
    assert first["answer_text"] == pair.answer.text
    assert first["attempt_texts"] == [one.text for one in pair.attempts]
    told = counted_pairs(tmp_path / "whole")
    assert told["pairs"] == sum(told["by_attempts"].values()) == 42
    assert told["kept"] == 0
    # Other rules, other pairs: none of the old ones stays.
    write_pairs(tmp_path / "whole", many[:3], choose, {"seed": 1})
    assert counted_pairs(tmp_path / "whole")["pairs"] == 6
    write_pairs(
        tmp_path / "whole", many[:3], partial(pairs_of, choice=Choice(4, seed=0, keep=1.0)), {"seed": 2}
    )
    again = counted_pairs(tmp_path / "whole")
    assert (again["pairs"], again["kept"]) == (12, 6)
