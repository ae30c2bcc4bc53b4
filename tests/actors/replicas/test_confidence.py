"""Scores that are the confidence of the model that drew: by hand, by every search, after attempts, and on record."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import AutoModelForCausalLM

from actors.engines.local.sampling import certainties
from actors.engines.verifiers.confidence import Measure, confidences
from actors.messages import Commit, Record
from actors.replicas.confidence import Likelihoods, TaskConfidence
from actors.replicas.remote_scorer import ScoreError
from actors.replicas.sound import check_values
from actors.store.library import NOTHING, Prior, SampleLibrary
from actors.store.writer import RunWriter
from actors.strategy import Candidate, Described, Role, Sample
from orchestration.strategies.revision.refine import Refine
from orchestration.strategies.revision.revision import Revision
from orchestration.strategies.revision.revision_search import RevisionSearch
from orchestration.strategies.revision.rsa import Rsa
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.dvts import Dvts
from orchestration.strategies.search.lookahead import Lookahead
from orchestration.strategies.search.mcts import Mcts
from orchestration.strategies.search.particle_filtering import ParticleFiltering
from orchestration.strategies.search.rebase import Rebase
from tests.support.folders import outcome, settled
from tests.support.table import PROMPT, Table
from tests.support.tiny import MAX_TOKENS, save_policy

SEARCHES: tuple[Described, ...] = (
    BestOfN(n=3),
    Beam(n=4, width=2),
    Lookahead(n=4, width=2, k=2),
    Dvts(n=4, width=2),
    Rebase(n=4),
    ParticleFiltering(n=4),
    Mcts(n=4),
)
REVISING: tuple[Described, ...] = (
    Revision(sequential=2, parallel=2),
    Rsa(population=2, k=2, rounds=1, select="weighted"),
    Refine(of=BestOfN(n=2), best=1, attempts=2),
    RevisionSearch(of=BestOfN(n=2), search=Beam(n=2, width=2), best=1),
)

Make = Callable[..., Table]


@pytest.fixture
async def table(policy: Path, verifier: Path, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a task's bench whose scores are told from log-probabilities; with a reviser that is another model."""
    tables: list[Table] = []

    def make(
        prior: Prior = NOTHING, *, revising: bool = False, measure: Measure | None = "mean_logprob"
    ) -> Table:
        reviser = save_policy(tmp_path / "reviser", seed=9) if revising else None
        one = Table(policy, verifier, reviser=reviser)
        run, salts = (
            one.bench.run,
            {"policy": "policy", "reviser": "reviser", "verifier": f"confidence {measure}"},
        )
        costs = {role: cost for role, cost in run.costs.items() if role != "verifier"}
        one.bench.run = replace(run, costs=costs, salts=salts, measure=measure)
        if measure is None:
            one.bench.run = replace(one.bench.run, likelihoods=False)
        one.bench.scorer, one.bench.prior = None, prior
        tables.append(one)
        return one

    yield make
    for one in tables:
        await one.close()


def kept(folder: Path, table: Table) -> Prior:
    """What a later run finds of this one: on disk and back."""
    writer = RunWriter(folder, None)
    writer.stage(1, "task", Record((outcome("task"),), [], table.bench.samples, table.bench.score_rows))
    assert writer.commit(Commit(settled=(settled("task"),))) == []
    writer.close()
    return SampleLibrary([folder]).prior(PROMPT.id)


def of_its_tokens(one: Candidate) -> list[float]:
    """A candidate's scores by the log-probabilities of its steps."""
    sums = itertools.accumulate(one.logprobs)
    return [math.exp(total / end) for total, end in zip(sums, one.step_ends, strict=True)]


def test_a_score_is_the_geometric_mean_of_the_tokens_so_far() -> None:
    # 1/2, 1/8 and 1/4: of the first alone 1/2, of all three the third root of 1/64.
    logprobs = [math.log(one) for one in (1 / 2, 1 / 8, 1 / 4, 1 / 100)]
    assert confidences("mean_logprob", logprobs, (1, 3)) == pytest.approx((1 / 2, 1 / 4), abs=1e-12)
    assert confidences("mean_logprob", logprobs, (2,)) == pytest.approx((1 / 4,), abs=1e-12)
    assert confidences("mean_logprob", logprobs, ()) == ()
    assert confidences("mean_logprob", (1e-7,), (1,)) == (1.0,)


@pytest.mark.parametrize("measure", get_args(Measure))
def test_what_is_no_number_makes_no_score(measure: Measure) -> None:
    first, second = confidences(measure, (-1.0 if measure == "mean_logprob" else 1.0, math.nan), (1, 2))
    assert 0 < first < 1
    assert math.isnan(second)
    with pytest.raises(ScoreError):
        check_values((first, second), 2)


def test_self_certainty_is_the_distance_from_the_uniform_distribution() -> None:
    # Probabilities 1/2, 1/4, 1/4 of three tokens: minus a third of log(3/2 * 3/4 * 3/4).
    skewed, even = torch.tensor([1 / 2, 1 / 4, 1 / 4]).log(), torch.zeros(3)
    told = certainties(torch.stack((skewed + 7, even)))
    by_hand = -math.log(27 / 32) / 3
    assert told.tolist() == pytest.approx([by_hand, 0], abs=1e-6)
    assert confidences("self_certainty", (3.0, 1.0, 99.0), (1, 2)) == pytest.approx((3 / 4, 2 / 3), abs=1e-12)
    assert confidences("self_certainty", (-1e-7,), (1,)) == (0.0,)


async def test_self_certainty_is_that_of_the_models_whole_distribution(
    table: Make, policy: Path, tmp_path: Path
) -> None:
    one = table(measure="self_certainty")
    solution, whole = await one.solve(Beam(n=4, width=2), BestOfN(n=2))
    model = AutoModelForCausalLM.from_pretrained(policy)
    for candidate in (c for c in (*solution.candidates, *whole.candidates) if c.scores):
        ids = [*PROMPT.token_ids, *candidate.token_ids]
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, len(PROMPT.token_ids) - 1 : -1]
        logprobs = logits.double().log_softmax(-1)
        each = -(logprobs + math.log(logprobs.shape[-1])).mean(-1)
        means = [float(each[:end].mean()) for end in candidate.step_ends]
        assert candidate.scores == pytest.approx([mean / (1 + mean) for mean in means], abs=1e-5)
    prior = kept(tmp_path / "run", one)
    again = table(prior, measure="self_certainty")
    assert await again.solve(Beam(n=4, width=2), BestOfN(n=2)) == [solution, whole]
    assert again.engine.requests == []
    # What was drawn with another measure says too little, and what says more is of use to all.
    other = table(prior)
    await other.solve(BestOfN(n=2))
    assert other.engine.requests == []
    plain = table()
    await plain.solve(BestOfN(n=2))
    late = table(kept(tmp_path / "plain", plain), measure="self_certainty")
    await late.solve(BestOfN(n=2))
    assert len(late.engine.requests) == 2


@pytest.mark.parametrize("strategy", SEARCHES, ids=lambda one: one.text)
async def test_searches_are_scored_at_no_cost(table: Make, strategy: Described) -> None:
    one = table()
    [solution] = await one.solve(strategy)
    assert one.scorer.requests == []
    assert any(len(c.scores) > 1 for c in solution.candidates)
    for candidate in solution.candidates:
        assert candidate.scores == pytest.approx(of_its_tokens(candidate), abs=1e-6)
    assert one.meters[0].attributed.of("verifier") == one.spent().of("verifier") == 0
    assert one.purse.spent == one.costs["policy"].paper(one.spent().of("policy")) > 0
    assert len({row["key"] for row in one.bench.score_rows}) == len(one.bench.score_rows)


@pytest.mark.parametrize("strategy", REVISING, ids=lambda one: one.text)
async def test_a_revision_is_judged_by_the_model_that_drew_it(table: Make, strategy: Described) -> None:
    one = table(revising=True)
    [solution] = await one.solve(strategy)
    scored = [c for c in solution.candidates if c.scores]
    assert one.drawing["reviser"].results
    assert len(scored) >= 2
    for candidate in scored:
        assert candidate.scores == pytest.approx(of_its_tokens(candidate), abs=1e-6)


async def test_equal_tokens_of_two_models_have_scores_of_their_own(table: Make) -> None:
    one = table(revising=True)
    models, others = one.models(), one.models()
    assert isinstance(others.verifier, TaskConfidence)
    drawn = await models.policy.sample((), (0,))
    revised = await others.reviser.revise((), (0, 0))
    # As if the reviser had drawn the policy's tokens, which it finds less likely.
    twin = replace(drawn, logprobs=tuple(value - 1 for value in drawn.logprobs))
    others.verifier.likelihoods.note("reviser", PROMPT.token_ids, (), twin)
    first, second = await models.verifier.score(drawn.token_ids), await others.verifier.score(drawn.token_ids)
    assert second == pytest.approx([value / math.e for value in first], abs=1e-6)
    assert len({row["key"] for row in one.bench.score_rows}) == 2 * len(first)
    assert await others.verifier.score(revised.token_ids) != first


@pytest.mark.parametrize("order", [("policy", "reviser"), ("reviser", "policy")])
def test_of_equal_tokens_that_both_models_drew_the_policys_count(order: tuple[Role, Role]) -> None:
    noted = Likelihoods("mean_logprob")
    told = {"policy": (-0.1, -0.1), "reviser": (-2.0, -2.0)}
    for role in order:
        noted.note(role, (1,), (), Sample((5, 6), told[role], "eos"))
    draw, found = noted.found((5, 6), ())
    assert (draw.role, tuple(found)) == ("policy", told["policy"])


async def test_what_is_on_record_is_drawn_and_stored_no_second_time(table: Make, tmp_path: Path) -> None:
    first = table()
    drawn = await first.solve(*SEARCHES)
    second = table(kept(tmp_path / "run", first))
    found = await second.solve(*SEARCHES)
    assert second.engine.requests == second.bench.samples == second.bench.score_rows == []
    assert [c.scores for one in found for c in one.candidates] == [
        c.scores for one in drawn for c in one.candidates
    ]
    assert [one.answer for one in found] == [one.answer for one in drawn]
    assert second.purse.spent == 0


async def test_samples_without_log_probabilities_are_drawn_again(table: Make, tmp_path: Path) -> None:
    bare = table(measure=None)
    samples = [await bare.models().policy.sample((), (at,)) for at in range(2)]
    assert all(one.logprobs == () for one in samples)
    one = table(kept(tmp_path / "run", bare))
    [solution] = await one.solve(BestOfN(n=2))
    assert len(one.engine.requests) == 2
    assert [c.token_ids for c in solution.candidates] == [sample.token_ids for sample in samples]
    assert all(c.scores for c in solution.candidates)


async def test_a_beginning_has_the_score_that_it_has_in_the_whole(table: Make) -> None:
    one = table()
    models = one.models()
    for at in range(20):
        sample = await models.policy.sample((), (at,))
        if len(ends := models.reader.step_ends(sample.token_ids)) > 1:
            break
    begun = await models.verifier.score(sample.token_ids[: ends[0]])
    whole = await models.verifier.score(sample.token_ids)
    assert (len(begun), len(whole)) == (1, len(ends))
    assert whole[0] == begun[0]
    assert await models.verifier.score(()) == ()


async def test_what_a_strategy_did_not_draw_has_no_score(table: Make) -> None:
    one = table()
    models, another = one.models(), one.models()
    sample = await models.policy.sample((), (0,))
    with pytest.raises(ValueError, match="did not draw"):
        await another.verifier.score(sample.token_ids)
    with pytest.raises(ValueError, match="did not draw"):
        await models.verifier.score((*sample.token_ids, 40))
    with pytest.raises(ValueError, match="did not draw"):
        await models.verifier.score(sample.token_ids, (sample.token_ids,))
    with pytest.raises(ValueError, match="judges no prompt before a step"):
        await models.verifier.prompt_value()
    assert len(sample.token_ids) <= MAX_TOKENS
    assert one.bench.score_rows == []
