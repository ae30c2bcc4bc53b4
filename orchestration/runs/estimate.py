"""What a run would take, told from settings alone: tokens, FLOPs by both accountings, bytes on disk.

It loads no model. Invariant: no run exceeds a worst case (None, where a strategy sets none), unless a prompt is
longer than those looked at, or work is lost with a replica and done again; an expectation takes a solution to
have the policy's typical length, and its strategies to run alone unless the total is asked for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass

from actors.errors import UserError
from actors.strategy import Forecast, Role, Sampling, Strategy, home_of
from actors.work import Cost, CostModel, prompt_cost
from orchestration.flops import ModelCost
from orchestration.setup.prepare import Prepared
from orchestration.setup.revising import Framed

# Bytes on disk in zstd Parquet: of a candidate's row (with its samples' and scores' rows, whose keys no compression makes
# smaller, where they are kept), of a token that was drawn (however many rows it stands in, for what repeats costs next to
# nothing), of an outcome with its part of the ledger. Measured on runs of the bundled models; tokens are doubled, for richer
# text repeats less.
_ROW = {"all": 32.0, "no_token_ids": 11.0, "answers": 11.0}
_TOKEN = {"all": 3.0, "no_token_ids": 0.6, "answers": 0.0}
_OUTCOME = 65.0
# Of a token whose self-certainty is kept, too: nearly all bits of a float32.
_CERTAINTY = 4.0
# Of a problem with its prompt, and of a letter of it: a question stands in both. What all prompts have in common, such as
# worked examples, costs next to nothing. Letters are of text with many words; what is
# generated repeats itself, and takes half.
_PROBLEM = 30.0
_LETTER = 0.5


@dataclass(frozen=True, slots=True)
class Need:
    """What one strategy needs for one problem and seed: candidates, and cost with a typical length and at worst."""

    strategy: str
    generations: int
    candidates: int
    expected: Cost
    worst: Cost | None


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run needs: each strategy for one problem and seed, and all of them for `problems` with `seeds` each,
    samples of one seed shared.

    `disk` is in bytes, by what is kept of candidates.
    """

    problems: int
    seeds: int
    each: list[Need]
    expected: Cost
    worst: Cost | None
    disk: dict[str, int]


def estimate(prepared: Prepared, problems: int) -> Needs:
    """Estimate a run of `problems` problems, once for each seed of the settings, that starts from nothing."""
    seeds = len(prepared.settings.seeds)
    times = problems * seeds
    typical, most = prepared.settings.policy.typical, prepared.settings.policy.max_tokens
    forecasts = [_forecast(strategy, typical, most) for strategy in prepared.strategies]
    each = [
        _need(prepared, strategy, forecast, most)
        for strategy, forecast in zip(prepared.strategies, forecasts, strict=True)
    ]
    shared = _shared(prepared, forecasts, each, typical)
    worst = [need.worst for need in each]
    total_worst = None
    if all(one is not None for one in worst):
        total_worst = _times(sum((one for one in worst if one is not None), Cost()), times)
    candidates = times * sum(need.candidates for need in each)
    tokens, problem = times * shared.drawn, _of_a_problem(prepared)
    bytes_of = dict(_TOKEN)
    if prepared.measure == "self_certainty":
        bytes_of["all"] += _CERTAINTY
    disk = {
        keep: int(
            problems * problem
            + candidates * _ROW[keep]
            + tokens * bytes_of[keep]
            + times * len(each) * _OUTCOME
        )
        for keep in _ROW
    }
    return Needs(problems, seeds, each, _times(shared, times), total_worst, disk)


def _of_a_problem(prepared: Prepared, most: int = 100) -> float:
    """Bytes on disk of a problem and its prompt, told from the first ones."""
    letters = [
        2 * len(one.question) + len(one.answer or "") + len(json.dumps(one.metadata, ensure_ascii=False))
        for one in itertools.islice(prepared.dataset, most)
    ]
    return _PROBLEM + _LETTER * sum(letters) / len(letters)


def _forecast(strategy: Strategy, typical: int, most: int) -> Forecast:
    """What a strategy says, or else n whole solutions that nothing bounds, n being what it runs at once unless it has one."""
    tell: Callable[[int, int], Forecast] | None = getattr(strategy, "forecast", None)
    # Something else may have this name in a class of the user's own.
    if callable(tell):
        told = tell(typical, most)
        if not isinstance(told, Forecast):
            mend = f"its forecast gives {type(told).__name__}: let it give a Forecast, or leave it out"
            raise UserError.of("strategies", strategy.text, mend)
        return told
    n = int(getattr(strategy, "n", strategy.sequences))
    return Forecast(n, n, n * typical, n)


def _need(prepared: Prepared, strategy: Strategy, forecast: Forecast, most: int) -> Need:
    verifier = prepared.costs.get("verifier") if strategy.uses_verifier else None
    prompt, longest = prepared.prompt_tokens, prepared.longest_prompt
    sequences, bound = forecast.sequences, forecast.bound
    mean = max(1, forecast.tokens // max(1, sequences))
    # What one of the user's own says nothing of is drawn where it lives.
    revised = forecast.revised or (sequences if home_of(strategy) == "reviser" else 0)
    reads = round(mean * forecast.attempts / max(1, revised))
    reviser = prepared.costs.get("reviser")
    expected = _drawn(prepared, prompt, sequences, revised, mean) + _scoring(
        verifier, prompt, sequences, mean
    )
    expected += _reading(prepared.framing, reviser, prompt, revised, mean, reads)
    expected += _reading(prepared.judging, verifier, prompt, revised, mean, reads)
    worst = None
    # How many of its own tokens a public verifier reads, and how often it writes, nobody knows beforehand.
    public = verifier is not None and prepared.models["verifier"].family is not None
    if bound is not None and not public:
        revised = min(bound, forecast.most_revised or (bound if revised else 0))
        worst = _drawn(prepared, longest, bound, revised, most) + _scoring(verifier, longest, bound, most)
        if forecast.reads:
            worst += _reading(prepared.framing, reviser, longest, revised, most, most, forecast.reads)
            worst += _reading(prepared.judging, verifier, longest, revised, most, most, forecast.reads)
    if verifier is not None and getattr(strategy, "judges_prompts", False):
        expected += prompt_cost(verifier, prompt)
        worst = None if worst is None else worst + prompt_cost(verifier, longest)
    return Need(strategy.text, forecast.generations, forecast.candidates, expected, worst)


def _drawn(prepared: Prepared, prompt: int, sequences: int, revised: int, tokens: int) -> Cost:
    """`sequences` continuations of one prompt, `revised` of them by the reviser."""
    by_role: dict[Role, int] = {"policy": sequences - revised, "reviser": revised}
    costs = (
        _drawing(role, prepared.costs[role], prompt, count, tokens)
        for role, count in by_role.items()
        if count
    )
    return sum(costs, Cost())


def _drawing(role: Role, model: CostModel, prompt: int, sequences: int, tokens: int) -> Cost:
    """`sequences` continuations of one prompt, which is computed once, each of `tokens` tokens."""
    drawn = sequences * tokens
    exact = model.exact(0, prompt - 1, 0) + sequences * model.exact(prompt - 1, tokens, tokens)
    return Cost({role: drawn}, paper=model.paper(drawn), exact=exact)


def _reading(
    framing: Framed | None,
    model: CostModel | None,
    prompt: int,
    sequences: int,
    tokens: int,
    attempt: int,
    attempts: int = 1,
) -> Cost:
    """What so many earlier attempts cost a model that reads them before each of `sequences` solutions of `tokens` tokens. By
    the paper's accounting they are free."""
    if framing is None or model is None or not attempt:
        return Cost()
    context = framing.revising.length(prompt, attempt, attempts)
    # Where the prompt stands behind them it is read again with them.
    read = model.exact(0, context, 0)
    # What is drawn, or judged, reads them, too.
    longer = model.exact(context, tokens, tokens) - model.exact(prompt - 1, tokens, tokens)
    return Cost(exact=sequences * (read + longer))


def _scoring(verifier: ModelCost | None, prompt: int, sequences: int, tokens: int) -> Cost:
    """Each of those continuations scored once, by a judge with all that it may write; nothing without a verifier."""
    if verifier is None or sequences == 0:
        return Cost()
    exact = verifier.exact(0, prompt, 0) + sequences * verifier.exact(prompt, tokens, tokens)
    scored = Cost({"verifier": sequences * tokens}, paper=verifier.paper(sequences * tokens), exact=exact)
    return scored + _times(verifier.written(prompt + tokens), sequences)


def _shared(prepared: Prepared, forecasts: list[Forecast], each: list[Need], typical: int) -> Cost:
    """One problem by all strategies: whole samples of one sampling are drawn once, and scored once."""
    total = Cost()
    drawn: dict[Sampling, int] = {}
    scored: dict[Sampling, int] = {}
    for strategy, forecast, need in zip(prepared.strategies, forecasts, each, strict=True):
        sampling, n = forecast.shared, forecast.sequences
        if sampling is None:
            total += need.expected
            continue
        drawn[sampling] = max(drawn.get(sampling, 0), n)
        if strategy.uses_verifier:
            scored[sampling] = max(scored.get(sampling, 0), n)
    for sampling, n in drawn.items():
        total += _drawing("policy", prepared.costs["policy"], prepared.prompt_tokens, n, typical)
        total += _scoring(
            prepared.costs.get("verifier"), prepared.prompt_tokens, scored.get(sampling, 0), typical
        )
    return total


def _times(cost: Cost, factor: int) -> Cost:
    tokens = {role: count * factor for role, count in cost.tokens.items()}
    return Cost(tokens, cost.paper * factor, cost.exact * factor)
