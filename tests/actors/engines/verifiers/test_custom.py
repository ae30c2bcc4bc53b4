"""Verifiers of a user's own: what they are called with, what of their answers counts, what identifies them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from actors.engines.base import EngineCounters, EngineInfo, ScoreRequest, Scores
from actors.engines.identity import files_hash, tokenizer_hash
from actors.engines.loading import load_verifier
from actors.engines.plan import ModelPlan
from actors.engines.verifiers.custom import CustomVerifier, Target, load_custom
from actors.errors import UserError

REQUEST = ScoreRequest(tuple(range(10)), 4, (6, 10))


class Fixed:
    """Gives what it is told to."""

    version: object = 1

    def __init__(self, answer: object = Scores((0.25, 1.0), 6)) -> None:
        self.answer = answer

    async def score(self, request: ScoreRequest) -> Scores:
        return self.answer  # type: ignore[return-value]


class Loaded(Fixed):
    def __init__(
        self, path: Path, tokenizer: Path, device: str, dtype: str, threads: int, *, weight: float = 1.0
    ) -> None:
        super().__init__()
        self.given = (path, tokenizer, device, dtype, threads, weight)


class Optional(Fixed):
    def __init__(self, path: Path | None = None, **others: object) -> None:
        super().__init__()
        self.given = (path, others)


class Talking(Fixed):
    closed = False

    def counters(self) -> EngineCounters:
        return EngineCounters(0, 77, 1.5, 3)

    async def close(self) -> None:
        self.closed = True


class Blocking:
    def score(self, request: ScoreRequest) -> Scores:
        return Scores((0.5, 0.5), 0)


def made_by_a_function(value: float) -> Fixed:
    return Fixed(Scores((value, value), 0))


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    return folder


def target(name: str, policy: Path, weights: Path | None = None, /, **options: object) -> Target:
    return Target(f"{__name__}.{name}", json.dumps(options, sort_keys=True), weights, policy, 0)


def test_it_is_called_with_its_options_and_with_what_it_asks_for(tokenizer: Path, tmp_path: Path) -> None:
    asked = target("Loaded", tokenizer, tmp_path, weight=2.5)
    asked.check()
    made = asked.make(device="cuda", dtype="bfloat16", threads=3)
    assert isinstance(made, Loaded)
    assert made.given == (tmp_path, tokenizer, "cuda", "bfloat16", 3, 2.5)
    with pytest.raises(UserError, match=r"Loaded needs path, as in verifier.path=\.\.\."):
        replace(asked, path=None).check()
    loose = target("Optional", tokenizer, mood="wild")
    loose.check()
    made = loose.make(device="cpu", dtype="float32", threads=1)
    assert isinstance(made, Optional)
    assert made.given == (None, {"mood": "wild"})


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("Loadde", {}, "did you mean 'Loaded'"),
        ("Loaded", {"wieght": 1}, "did you mean 'weight'"),
        ("Optional", {"threads": 2}, "set by cluster.verifier.threads, not here"),
        ("Optional", {"tokenizer": "x"}, "it is the policy's"),
        ("made_by_a_function", {}, "needs value, as in verifier.value=..."),
    ],
)
def test_what_cannot_be_called_is_refused(
    name: str, options: dict[str, object], says: str, tokenizer: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        target(name, tokenizer, tmp_path if name == "Loaded" else None, **options).check()
    assert says in str(error.value)


@pytest.mark.parametrize("name", ["Loaded", "..", "my-module.Class", "math.pi"])
def test_a_target_is_the_path_of_something_that_can_be_called(name: str, tokenizer: Path) -> None:
    with pytest.raises(UserError, match=r"path of a class or function|has no class"):
        Target(name, "{}", None, tokenizer, 0).check()


async def scored(answer: object) -> Scores:
    plan = ModelPlan(Path(), target=None)
    engine = CustomVerifier(Fixed(answer), INFO)  # type: ignore[arg-type]
    assert plan.target is None
    return await engine.score(REQUEST)


INFO = EngineInfo("mine.Fixed", "", "", "custom", "float32", 0, 0, ())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((0.5, 0.5), "mine.Fixed gave tuple and not Scores"),
        (Scores((0.5,), 0), "gave 1 score for 2 steps"),
        (Scores((0.5, float("nan")), 0), "gave the score nan"),
        (Scores((0.5, 1.01), 0), "gave the score 1.01, which is not in"),
        (Scores((-0.1, 0.5), 0), "gave the score -0.1"),
        (Scores((0.5, 0.5), 11), "computed 11 of 10 tokens"),
        (Scores((0.5, 0.5), -1), "computed -1 of 10 tokens"),
        (Scores((0.5, 0.5), 0, 1.5), "gave the prompt the score 1.5, which is not in"),
    ],
)
def test_a_score_that_is_none_is_an_error_and_never_a_number(answer: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        asyncio.run(scored(answer))


def test_scores_are_plain_numbers_and_tokens_are_counted(tokenizer: Path) -> None:
    import numpy as np

    async def run() -> None:
        engine = load_custom(target("Fixed", tokenizer), device="cpu", dtype="float32", threads=1)
        assert await engine.score(REQUEST) == Scores((0.25, 1.0), 6)
        await engine.score(REQUEST)
        counters = engine.counters()
        assert (counters.tokens_computed, counters.running) == (12, 0)
        assert counters.busy_seconds > 0
        found = await scored(Scores((np.float32(0.5), np.float32(0)), np.int64(3)))  # type: ignore[arg-type]
        assert [type(value) for value in (*found.values, found.computed)] == [float, float, int]
        await engine.close()

    asyncio.run(run())


def test_its_own_counters_and_close_are_used() -> None:
    talking = Talking()
    engine = CustomVerifier(talking, INFO)
    assert engine.counters().tokens_computed == 77
    asyncio.run(engine.close())
    assert talking.closed


@pytest.mark.parametrize("name", ["Blocking", "EngineCounters"])
def test_what_has_no_async_score_is_said_at_load(name: str, tokenizer: Path) -> None:
    options = {} if name == "Blocking" else dict.fromkeys(EngineCounters.__dataclass_fields__, 0)
    with pytest.raises(UserError, match=rf"it gives no verifier: {name} has no async score\(request\)"):
        load_custom(target(name, tokenizer, **options), device="cpu", dtype="float32", threads=1)


def test_all_that_decides_a_score_identifies_it(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    (weights / "deep").mkdir(parents=True)
    (weights / "deep" / "rules.txt").write_text("one")
    one = target("Optional", tokenizer, weights, mood="calm")
    known = one.identity()
    assert one.identity() == known
    others = [
        target("Talking", tokenizer, weights, mood="calm"),
        target("Optional", tokenizer, weights, mood="wild"),
        target("Optional", tokenizer, None, mood="calm"),
        replace(one, parameters=1),
    ]
    seen = {known, *(other.identity() for other in others)}
    monkeypatch.setattr(Optional, "version", 2)
    seen.add(one.identity())
    monkeypatch.undo()
    (tokenizer / "tokenizer.json").write_text("{ }")
    seen.add(one.identity())
    (tokenizer / "tokenizer.json").write_text("{}")
    (weights / "deep" / "rules.txt").write_text("two")
    seen.add(one.identity())
    assert len(seen) == 8
    (weights / "deep" / "rules.txt").write_text("one")
    assert one.identity() == known
    monkeypatch.setattr(Optional, "version", object())
    with pytest.raises(UserError, match="its version must be a text or a number"):
        one.identity()


def test_files_are_known_by_place_and_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = files_hash(tmp_path)
    for left_out in (".hidden", "a/__pycache__"):
        (tmp_path / left_out).mkdir()
        (tmp_path / left_out / "x").write_text("2")
    assert files_hash(tmp_path) == before
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert files_hash(tmp_path) != before
    assert files_hash(tmp_path / "a" / "y") != files_hash(tmp_path)


def test_a_replica_with_another_version_says_so(tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = target("Fixed", tokenizer)
    plan = ModelPlan(tokenizer, target=mine, files=(mine.identity(), tokenizer_hash(tokenizer)))
    plan.check(load_verifier(plan).info)
    monkeypatch.setattr(Fixed, "version", 2)
    with pytest.raises(UserError, match="other files, or another version of it, on "):
        plan.check(load_verifier(plan).info)
