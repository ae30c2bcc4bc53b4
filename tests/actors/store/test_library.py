"""Keys name all that decides a draw or a score and nothing else; what was written under one comes back bit for bit."""

from __future__ import annotations

import math
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import actors.store.library
import actors.store.writer
from actors.engines.base import Finish
from actors.errors import UserError
from actors.messages import Commit, Record
from actors.store.library import NOTHING, Prior, SampleLibrary, sample_key, sample_row, score_key, score_row
from actors.store.schema import SCORES
from actors.store.writer import RunWriter
from actors.strategy import Sample
from tests.support.folders import outcome, settled


def test_all_that_decides_a_draw_changes_its_key() -> None:
    base: dict[str, Any] = {"salt": "a1", "seed": 17, "context": (0, 5, 6), "most": 24}
    others: list[dict[str, Any]] = [
        {"salt": "a2"},
        {"salt": ""},
        {"seed": 18},
        {"seed": 1 << 62},
        {"context": (0, 5, 7)},
        {"context": (0, 5)},
        {"context": (0, 5, 6, 0)},
        {"context": (5, 0, 6)},
        {"context": (0, 5 + 256, 6)},
        {"most": 25},
        {"most": 2},
        # What could be read as the same text, or the same bytes.
        {"seed": 172, "most": 4},
        {"most": 245, "context": (5, 6)},
        {"salt": "a1/17", "seed": 24},
        {"most": 2, "context": (int.from_bytes(b"4\n\0\0", "little"), 0, 5, 6)},
        {"most": int("241234"), "context": (0, 5, 6)},
        {"context": (int.from_bytes(b"1234", "little"), 0, 5, 6)},
    ]
    keys = {sample_key(**(base | other)) for other in ({}, *others)}
    assert len(keys) == len(others) + 1
    assert {len(key) for key in keys} == {16}


def test_nothing_else_changes_a_key() -> None:
    assert sample_key("a1", 17, (0, 5, 6), 24) == sample_key("a1", 17, [0, 5, 6], 24)
    assert score_key("a1", (0, 5)) == score_key("a1", [0, 5])
    # It is the same in every process, and for ever.
    assert sample_key("a1", 17, (0, 5, 6), 24).hex() == "f45130c58cffde611ad8788300211896"
    assert score_key("b2", (0, 5, 6)).hex() == "66531d8924c84c257829104e6bf1e8ac"


def test_all_that_decides_a_score_changes_its_key() -> None:
    others = [("b2", (0, 5)), ("", (0, 5)), ("a1", (0, 6)), ("a1", (0,)), ("a1", (0, 5, 0)), ("a1", (5, 0))]
    assert len({score_key(*one) for one in (("a1", (0, 5)), *others)}) == len(others) + 1


def float32(value: float) -> float:
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def made(draw: random.Random) -> Sample:
    """A sample of up to a hundred tokens, with log-probabilities as awkward as they come."""
    awkward = (-0.0, -math.inf, float32(1e-45), float32(-3.4e38), float32(-0.1))
    count = draw.randrange(0, 100)
    logprobs = [float32(-draw.expovariate(1.0)) for _ in range(count)]
    for place in range(0, count, 7):
        logprobs[place] = draw.choice(awkward)
    ids = tuple(draw.choice((0, 1, 255, 256, 151_935, 2**31 - 1)) for _ in range(count))
    return Sample(ids, tuple(logprobs), draw.choice(get_args(Finish)))


def written(folder: Path, problems: list[str], seed: int, retention: Any = "all") -> dict[str, Prior]:
    """A run of these problems, a commit each: what there is of each of them."""
    draw = random.Random(seed)
    priors: dict[str, Prior] = {}
    writer = RunWriter(folder, None, retention)
    for problem in problems:
        prior = priors[problem] = Prior()
        samples, scores = [], []
        for index in range(draw.randrange(0, 9)):
            key, sample = draw.randbytes(16), made(draw)
            prior.samples[key] = sample
            samples.append(sample_row(key, problem, seed, (index, 2), index, sample))
        for _ in range(draw.randrange(0, 9)):
            key, value = draw.randbytes(16), draw.random()
            prior.scores[key] = value
            scores.append(score_row(key, problem, value))
        writer.stage(1, problem, Record((outcome(problem),), [], samples, scores))
        assert writer.commit(Commit(settled=(settled(problem),))) == []
    writer.close()
    return priors


def bits(prior: Prior) -> object:
    """What tells -0.0 from 0.0 as well."""
    samples = {key: (s.token_ids, tuple(map(repr, s.logprobs)), s.finish) for key, s in prior.samples.items()}
    return samples, {key: repr(value) for key, value in prior.scores.items()}


def test_what_was_written_comes_back_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several folders, parts and row groups, with memory for less than there is, in whatever order it is asked for."""
    monkeypatch.setattr(actors.store.writer, "SEGMENT_BYTES", 20_000)
    monkeypatch.setattr(actors.store.writer, "ROW_GROUP", 7)
    monkeypatch.setattr(actors.store.library, "GROUPS", 3)
    problems = [f"p{number}" for number in range(60)]
    first = written(tmp_path / "first", problems[:40], 1)
    second = written(tmp_path / "second", problems[20:], 2)
    for folder in (tmp_path / "first", tmp_path / "second"):
        parts = list((folder / "samples").iterdir())
        assert len(parts) > 2
        assert max(pq.ParquetFile(part).num_row_groups for part in parts) > 2
    folders = [tmp_path / "first", tmp_path / "second", tmp_path / "nothing there"]
    library = SampleLibrary(folders)
    nothing = Prior()
    expected = {
        problem: Prior(
            first.get(problem, nothing).samples | second.get(problem, nothing).samples,
            first.get(problem, nothing).scores | second.get(problem, nothing).scores,
        )
        for problem in problems
    }
    assert len(library) == sum(bool(one.samples or one.scores) for one in expected.values())
    asked = problems * 3
    random.Random(0).shuffle(asked)
    for problem in asked:
        assert bits(library.prior(problem)) == bits(expected[problem])
        assert len(library._groups) <= 3
    assert library.prior("p60") == nothing


@pytest.mark.parametrize("order", [("told", "bare"), ("bare", "told")])
def test_a_sample_without_likelihoods_gives_way_to_one_that_has_them(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    key = sample_key("a1", 3, (0, 5), 9)
    told = Sample((7, 8), (-0.5, -1.0), "stop")
    for name, sample in (("told", told), ("bare", Sample((7, 8), (), "stop"))):
        writer = RunWriter(tmp_path / name, None)
        writer.stage(1, "a/4", Record((outcome("a"),), [], [sample_row(key, "a", 4, (0,), 0, sample)], []))
        writer.commit(Commit(settled=(settled("a/4"),)))
        writer.close()
    assert SampleLibrary([tmp_path / name for name in order]).prior("a").samples == {key: told}
    assert SampleLibrary([tmp_path / "bare"]).prior("a").samples[key].logprobs == ()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_draws_of_one_key_that_differ_are_never_mixed(tmp_path: Path, order: tuple[int, int]) -> None:
    key = sample_key("a1", 3, (0, 5), 9)
    samples = Sample((7, 8), (), "stop", (1.0, 2.0)), Sample((7, 9, 4), (-0.5, -1.0, -0.25), "stop")
    for name, sample in enumerate(samples):
        writer = RunWriter(tmp_path / str(name), None)
        writer.stage(1, "a/4", Record((outcome("a"),), [], [sample_row(key, "a", 4, (0,), 0, sample)], []))
        writer.commit(Commit(settled=(settled("a/4"),)))
        writer.close()
    # The folder that was named first is the run's own.
    found = SampleLibrary([tmp_path / str(name) for name in order]).prior("a").samples
    assert found == {key: samples[order[0]]}


def test_a_row_says_where_it_was_drawn(tmp_path: Path) -> None:
    key = sample_key("a1", 3, (0, 5), 9)
    writer = RunWriter(tmp_path, None)
    row = sample_row(key, "a", 4, (2, 0, 1), 11, Sample((7, 8), (-0.5, -1.0), "stop"))
    writer.stage(1, "a/4", Record((outcome("a"),), [], [row], []))
    writer.commit(Commit(settled=(settled("a/4"),)))
    writer.close()
    [part] = (tmp_path / "samples").iterdir()
    assert pq.read_table(part).to_pylist() == [
        {
            "key": key,
            "problem_id": "a",
            "seed": 4,
            "place": [2, 0, 1],
            "start": 11,
            "token_ids": [7, 8],
            "logprobs": [-0.5, -1.0],
            "finish_reason": "stop",
            "certainties": None,
        }
    ]


@pytest.mark.parametrize("retention", ["no_token_ids", "answers"])
def test_only_a_run_that_keeps_all_keeps_samples(tmp_path: Path, retention: str) -> None:
    kept = written(tmp_path, ["a", "b", "c"], 1, retention)
    assert any(prior.samples for prior in kept.values())
    assert len(SampleLibrary([tmp_path])) == 0
    assert not list((tmp_path / "samples").iterdir())
    assert not list((tmp_path / "scores").iterdir())


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    """Its index can be read, its rows cannot: whoever waits for them is told which file it is."""
    written(tmp_path, ["p"], 3)
    library = SampleLibrary([tmp_path])
    [part] = (tmp_path / "samples").glob("*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    with pytest.raises(UserError, match=f"{part}.*cannot be read.*put a copy of it back"):
        library.prior("p")


def test_its_index_takes_some_tens_of_bytes_for_each_problem(tmp_path: Path) -> None:
    """A dict of lists takes some hundreds."""
    count = 30_000
    names = [f"problem-{number:08d}" for number in range(count)]
    rows = {
        "key": [bytes(16)] * count,
        "problem_id": names,
        "value": [0.5] * count,
        "written": [None] * count,
        "left": [None] * count,
    }
    for table in ("scores", "outcomes"):
        (tmp_path / table).mkdir()
        part = tmp_path / table / "part-000001.parquet"
        pq.write_table(pa.table(rows, schema=SCORES), part, row_group_size=4096)
    tracemalloc.start()
    library = SampleLibrary([tmp_path])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 40 * count
    assert len(library) == count
    assert [library.prior(name).scores for name in (names[0], names[-1])] == [{bytes(16): 0.5}] * 2
    assert library.prior("problem-") == NOTHING
    assert len(SampleLibrary([tmp_path / "none"])) == 0


@pytest.mark.parametrize("names", [SCORES.names, SCORES.names[:4], SCORES.names[:3]])
def test_what_a_judge_wrote_is_found_where_a_part_has_it(names: list[str], tmp_path: Path) -> None:
    """Parts of earlier versions have no such column, and most scores are read without a word."""
    keys = [bytes([number]) * 16 for number in range(3)]
    judged = score_row(keys[1], "p", 0.2, (7, 9), (5, 0, 2**31 - 1))
    # It travels as bytes, and is a list in the table.
    judged["left"] = list(memoryview(judged["left"]).cast("i"))
    rows = [score_row(keys[0], "p", 0.1), judged, score_row(keys[2], "p", 0.3)]
    schema = pa.schema([SCORES.field(name) for name in names])
    columns = [pa.array([row.get(one.name) for row in rows], one.type) for one in schema]
    for table in ("scores", "outcomes"):
        (tmp_path / table).mkdir()
        pq.write_table(pa.table(columns, schema=schema), tmp_path / table / "part-000001.parquet")
    prior = SampleLibrary([tmp_path]).prior("p")
    assert prior.scores == dict(zip(keys, (0.1, 0.2, 0.3), strict=True))
    assert prior.written == ({keys[1]: (7, 9)} if "written" in names else {})
    assert prior.left == ({keys[1]: (5, 0, 2**31 - 1)} if "left" in names else {})
