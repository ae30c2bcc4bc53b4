"""The dry run's numbers against closed forms, and its worst case against what really is spent."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from actors.errors import UserError
from actors.store.digests import DigestMap
from orchestration.api import settings_of
from orchestration.problems import Problem
from orchestration.runs.estimate import estimate
from orchestration.runs.problem_store import ProblemStore
from orchestration.setup.prepare import Prepared, prepare


def prepared(words: list[str], *more: str) -> Prepared:
    return prepare(settings_of([*words, *more]))


def test_independent_samples_are_shared(words: list[str]) -> None:
    both = estimate(prepared(words, "strategies=[majority(n=4),majority(n=16),best_of_n(n=8)]"), 10)
    alone = estimate(prepared(words, "strategies=[majority(n=16)]"), 10)
    assert both.expected.of("policy") == alone.expected.of("policy") == 10 * 16 * 30
    assert both.expected.of("verifier") == 10 * 8 * 30
    assert [need.generations for need in both.each] == [4, 16, 8]
    apart = estimate(prepared(words, "strategies=[majority(n=16),majority(n=16,temperature=0.5)]"), 10)
    assert apart.expected.of("policy") == 2 * alone.expected.of("policy")


def test_strategies_that_stop_early_are_told_at_their_most(words: list[str]) -> None:
    texts = "strategies=[early_stopping(n=16,window=4),adaptive_consistency(n=8),majority(n=16)]"
    needs = estimate(prepared(words, texts), 10)
    assert [need.generations for need in needs.each] == [16, 8, 16]
    assert needs.expected == estimate(prepared(words, "strategies=[majority(n=16)]"), 10).expected
    assert [need.worst.of("policy") for need in needs.each if need.worst] == [16 * 40, 8 * 40, 16 * 40]


def test_every_seed_draws_anew(words: list[str]) -> None:
    one = estimate(prepared(words, "strategies=[greedy,best_of_n(n=4)]"), 10)
    three = estimate(prepared(words, "strategies=[greedy,best_of_n(n=4)]", "seeds=[0,1,2]"), 10)
    assert three.each == one.each
    assert three.expected == one.expected + one.expected + one.expected
    assert one.worst is not None
    assert three.worst == one.worst + one.worst + one.worst
    two = estimate(prepared(words, "strategies=[greedy,best_of_n(n=4)]", "seeds=[0,1]"), 10)
    for keep, size in one.disk.items():
        more = two.disk[keep] - size
        assert abs(three.disk[keep] - two.disk[keep] - more) <= 1
        assert 0 < more < size, "a problem is stored once"
    assert (three.problems, three.seeds) == (10, 3)


def test_every_family_has_its_one_sample_and_it_is_the_same(words: list[str]) -> None:
    ladder = prepared(words)
    texts = [strategy.text for strategy in ladder.strategies]
    assert {"majority(n=1)", "best_of_n(n=1)", "beam(n=1,width=4)"} <= set(texts)
    ones = estimate(prepared(words, "strategies=[majority(n=1),best_of_n(n=1),beam(n=1)]"), 10)
    alone = estimate(prepared(words, "strategies=[best_of_n(n=1)]"), 10)
    assert ones.expected == alone.expected


def test_costs_are_those_of_the_models(words: list[str]) -> None:
    ready = prepared(words, "strategies=[best_of_n(n=4)]")
    need = estimate(ready, 1).each[0]
    policy, verifier, prompt = ready.costs["policy"], ready.costs["verifier"], ready.prompt_tokens
    assert verifier is not None
    assert need.expected.paper == policy.paper(120) + verifier.paper(120)
    assert need.expected.exact == (
        policy.exact(0, prompt - 1, 0)
        + 4 * policy.exact(prompt - 1, 30, 30)
        + verifier.exact(0, prompt, 0)
        + 4 * verifier.exact(prompt, 30, 30)
    )
    assert need.worst is not None
    assert need.worst.of("policy") == 4 * 40


def test_a_beam_may_cost_more_than_its_generations(words: list[str]) -> None:
    ready = prepared(words, "strategies=[beam(n=4,width=4,rounds=3),beam(n=1)]")
    beam, one = estimate(ready, 1).each
    assert beam.worst is not None
    assert beam.worst.of("policy") == 4 * 3 * 40
    assert one.worst is not None
    assert one.worst.of("policy") == 40


def test_what_searches_draw(words: list[str]) -> None:
    texts = "strategies=[beam(n=8),dvts(n=8),lookahead(n=8,k=0),lookahead(n=8,k=3),beam(n=8,every=2),lookahead(n=1)]"
    beam, dvts, none_ahead, ahead, seldom, one = estimate(prepared(words, texts), 1).each
    # A typical solution of 30 tokens has two steps: the first has one ahead of it.
    assert (beam.generations, beam.expected.of("policy"), beam.candidates) == (8, 8 * 30, 8 * 2)
    assert [dvts.expected, dvts.candidates] == [none_ahead.expected, 16] == [beam.expected, beam.candidates]
    assert (ahead.generations, ahead.candidates) == (8 * 4, 16)
    assert ahead.expected.of("policy") == ahead.expected.of("verifier") == 32 * (8 * 45 // 32)
    # The first step eight times, then half the rounds, of eight last steps and two drawn on alone.
    assert seldom.expected.of("policy") == (8 + (8 + 2) // 2) * 30 // 2 // 8 * 8
    assert (one.generations, one.candidates, one.expected.of("policy")) == (1, 1, 30)
    assert beam.worst is not None
    assert beam.worst == dvts.worst == none_ahead.worst
    assert ahead.worst is not None
    assert ahead.worst.of("policy") == 4 * beam.worst.of("policy")
    assert seldom.worst is not None
    assert seldom.worst.of("policy") == beam.worst.of("policy") + 39 * 2 * 40


def test_a_search_of_one_is_one_of_the_independent_samples(words: list[str]) -> None:
    ones = estimate(
        prepared(words, "strategies=[best_of_n(n=1),dvts(n=1),lookahead(n=1),rebase(n=1),mcts(n=1)]"), 10
    )
    alone = estimate(prepared(words, "strategies=[best_of_n(n=1)]"), 10)
    assert ones.expected == alone.expected
    assert {need.candidates for need in ones.each} == {1}


def test_no_search_draws_more_steps_at_a_depth_than_its_generations(words: list[str]) -> None:
    texts = ["beam(n=4)", "rebase(n=4)", "particle_filtering(n=4)", "mcts(n=4)"]
    needs = estimate(prepared(words, f"strategies=[{','.join(texts)}]"), 1).each
    assert [need.generations for need in needs] == [4] * 4
    first, *others = [(need.expected, need.worst, need.candidates) for need in needs]
    assert all(other == first for other in others)
    assert needs[0].worst is not None
    assert needs[0].worst.of("policy") == 4 * 40 * 40


def test_every_rollout_is_a_generation(words: list[str]) -> None:
    need = estimate(prepared(words, "strategies=[monte_carlo(samples=3,rollouts=5)]"), 1).each[0]
    # A typical solution of 30 tokens has two steps, so one prefix to roll out from.
    assert need.generations == need.candidates == 3 + 3 * 5


def test_a_strategy_of_the_users_own_has_no_bound(words: list[str]) -> None:
    ready = prepared(words, "strategies=[greedy,tests.orchestration.runs.test_estimate.Own(n=3)]")
    needs = estimate(ready, 2)
    assert needs.worst is None
    assert needs.each[1].generations == 3


class Own:
    def __init__(self, n: int) -> None:
        self.n = n

    text = "tests.orchestration.runs.test_estimate.Own(n=3)"
    uses_verifier = False
    sequences = 3

    async def solve(self, *_: object) -> None: ...


@pytest.mark.parametrize(("unit", "amount"), [("paper", 1), ("exact", 1)])
def test_budgets_in_tokens_and_generations_are_flops(words: list[str], unit: str, amount: int) -> None:
    generations = prepared(words, f"budget={unit}", f"budget.generations={100 * amount}").budget
    tokens = prepared(words, f"budget={unit}", f"budget.tokens={3000 * amount}").budget
    assert generations == tokens
    assert prepared(words, "budget.flops=1e9").budget == 10**9
    with pytest.raises(UserError, match=r"budget.tokens = 10{27}: it is .* FLOPs .*at most 1e30: give less"):
        prepared(words, f"budget={unit}", "budget.tokens=1e27")
    assert prepared(words).budget is None


def test_disk_is_less_when_less_is_kept(words: list[str]) -> None:
    disk = estimate(prepared(words), 100).disk
    assert disk["all"] > disk["no_token_ids"] > disk["answers"] > 0


def test_disk_is_what_a_run_of_the_bundled_models_took() -> None:
    """Bytes of all parts of 120 problems by the default strategies, and not much more for the sake of richer text."""
    taken = {"all": 1_097_416, "no_token_ids": 309_351, "answers": 260_726}
    disk = estimate(prepare(settings_of(["domain=arithmetic", "dataset.count=120"])), 120).disk
    assert disk.keys() == taken.keys()
    for keep, size in taken.items():
        assert size <= disk[keep] <= 1.6 * size


def test_problems_and_their_prompts_take_room(words: list[str], tmp_path: Path) -> None:
    draw = random.Random(3)
    known = ["".join(draw.choices("abcdefghijklmnopqrst", k=draw.randint(2, 10))) for _ in range(2000)]
    problems = [
        Problem(f"p{n}", " ".join(draw.choices(known, k=60)), "7", None, {"level": n}) for n in range(200)
    ]
    store = ProblemStore(tmp_path, DigestMap())
    store.store([(one, (n,)) for n, one in enumerate(problems)], lambda ids: problems[ids[0]].question)
    size = sum(file.stat().st_size for file in tmp_path.rglob("*.parquet"))
    ready = prepared(words, "strategies=[greedy]")
    tables = (problems, [Problem("p", "")])
    many, none = (estimate(replace(ready, dataset=one), 200).disk for one in tables)  # type: ignore[arg-type]
    for keep in many:
        assert size <= many[keep] - none[keep] <= 2 * size


def test_models_are_found_or_named(models: tuple[Path, Path]) -> None:
    from orchestration.setup.model_folders import model_folder

    assert model_folder(str(models[0]), "policy") == models[0]
    with pytest.raises(UserError, match=r"verifier\.path"):
        model_folder(str(models[0] / "none"), "verifier")
