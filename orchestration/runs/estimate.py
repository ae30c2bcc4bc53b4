"""What a run would take, told from settings alone: tokens, FLOPs by both accountings, bytes on disk.

It loads no model. Invariant: no run exceeds a worst case (None, where a strategy sets none), unless a prompt is
longer than those looked at, or work is lost with a replica and done again; an expectation takes a solution to
have the policy's typical length, and its strategies to run alone unless the total is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.strategy import Strategy
from actors.work import Cost, CostModel
from orchestration.setup.prepare import Prepared
from orchestration.strategies.sampling.adaptive_consistency import AdaptiveConsistency
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.early_stopping import EarlyStopping
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.sampling.monte_carlo import MonteCarlo
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.dvts import Dvts
from orchestration.strategies.search.lookahead import Lookahead
from orchestration.strategies.search.mcts import Mcts
from orchestration.strategies.search.particle_filtering import ParticleFiltering
from orchestration.strategies.search.rebase import Rebase

# Bytes on disk in zstd Parquet: of a candidate's row (with its samples' and scores' rows, whose keys no compression makes
# smaller, where they are kept), of a token that was drawn (however many rows it stands in, for what repeats costs next to
# nothing), of an outcome with its part of the ledger. Measured on runs of the bundled models; tokens are doubled, for richer
# text repeats less.
_ROW = {"all": 32.0, "no_token_ids": 11.0, "answers": 11.0}
_TOKEN = {"all": 3.0, "no_token_ids": 0.6, "answers": 0.0}
_OUTCOME = 65.0

# Strategies whose whole samples are the first n of one sequence; how early the first two stop is not known beforehand.
_INDEPENDENT = (EarlyStopping, AdaptiveConsistency, Majority, BestOfN)

# Searches that draw at most n steps at each depth, and nothing else.
_GROWN = (Rebase, ParticleFiltering, Mcts)
_SEARCHES = (Beam, Dvts, Lookahead, *_GROWN)

# A solution in steps of this many tokens, where only the strategy knows how often it starts anew.
_STEP = 12


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
    typical, most = prepared.settings.policy.typical_tokens, prepared.settings.policy.max_tokens
    each = [_need(prepared, strategy, typical, most) for strategy in prepared.strategies]
    shared = _shared(prepared, each, typical)
    worst = [need.worst for need in each]
    total_worst = None
    if all(one is not None for one in worst):
        total_worst = _times(sum((one for one in worst if one is not None), Cost()), times)
    candidates = times * sum(need.candidates for need in each)
    tokens = times * shared.of("policy")
    disk = {
        keep: int(candidates * _ROW[keep] + tokens * _TOKEN[keep] + times * len(each) * _OUTCOME)
        for keep in _ROW
    }
    return Needs(problems, seeds, each, _times(shared, times), total_worst, disk)


def _need(prepared: Prepared, strategy: Strategy, typical: int, most: int) -> Need:
    draws = _draws(strategy, typical)
    bound = _bound(strategy, most)
    policy = prepared.costs["policy"]
    verifier = prepared.costs.get("verifier") if strategy.uses_verifier else None
    prompt, longest = prepared.prompt_tokens, prepared.longest_prompt
    mean = max(1, draws.tokens // draws.sequences)
    expected = _drawing(policy, prompt, draws.sequences, mean) + _scoring(
        verifier, prompt, draws.sequences, mean
    )
    worst = None if bound is None else _drawing(policy, longest, *bound) + _scoring(verifier, longest, *bound)
    return Need(strategy.text, draws.generations, draws.rows, expected, worst)


@dataclass(frozen=True, slots=True)
class _Draws:
    """What a strategy draws for a problem; `rows` is how many candidates it leaves, dropped ones included."""

    generations: int
    sequences: int
    tokens: int
    rows: int


def _draws(strategy: Strategy, typical: int) -> _Draws:
    """How many generations, candidates and tokens a strategy draws where a solution has `typical` tokens."""
    steps = max(1, typical // _STEP)
    if isinstance(strategy, MonteCarlo):
        rollouts = strategy.samples * (steps - 1) * strategy.rollouts
        tokens = strategy.samples * typical + rollouts * typical // 2
        drawn = strategy.samples + rollouts
        return _Draws(drawn, drawn, tokens, drawn)
    if isinstance(strategy, Beam | Dvts | Lookahead) and strategy.n > 1:
        return _searched(strategy, typical, steps)
    n = getattr(strategy, "n", strategy.sequences)
    count = 1 if isinstance(strategy, Greedy) else int(n)
    # What is dropped is a candidate, too.
    rows = count * steps if isinstance(strategy, _GROWN) and count > 1 else count
    return _Draws(count, count, count * typical, rows)


def _searched(strategy: Beam | Dvts | Lookahead, typical: int, steps: int) -> _Draws:
    """The draws of a search in rounds of n steps, whose solutions have so many steps."""
    n = strategy.n
    if isinstance(strategy, Lookahead):
        # A rollout ends with the solution.
        ahead = sum(min(strategy.k, steps - step) for step in range(1, steps + 1))
        tokens = n * (typical + typical * ahead // steps)
        return _Draws(strategy.generations, strategy.generations, tokens, n * steps)
    if isinstance(strategy, Beam) and strategy.every > 1:
        # Of each `every` steps after the first all but one are drawn by survivors alone.
        rounds = (steps - 1) / strategy.every
        drawn = n + rounds * (n + strategy.survivors * (strategy.every - 1))
        return _Draws(n, n, int(drawn * typical / steps), int(n * (1 + rounds)))
    return _Draws(n, n, n * typical, n * steps)


def _bound(strategy: Strategy, most: int) -> tuple[int, int] | None:
    """(sequences, tokens each) that no run of the strategy exceeds; None where nothing is known."""
    if isinstance(strategy, Greedy):
        return 1, most
    if isinstance(strategy, _INDEPENDENT):
        return strategy.n, most
    if isinstance(strategy, _SEARCHES):
        if strategy.n == 1:
            return 1, most
        # In every round each of n places may draw all that its prefix leaves, and a prefix gains a token a
        # round.
        rounds = min(strategy.rounds, most)
        if isinstance(strategy, Lookahead):
            return strategy.n * rounds * (1 + strategy.k), most
        alone = strategy.survivors * (strategy.every - 1) if isinstance(strategy, Beam) else 0
        return strategy.n * rounds + alone * (rounds - 1), most
    if isinstance(strategy, MonteCarlo):
        return strategy.samples * (1 + (most - 1) * strategy.rollouts), most
    return None


def _drawing(policy: CostModel, prompt: int, sequences: int, tokens: int) -> Cost:
    """`sequences` continuations of one prompt, which is computed once, each of `tokens` tokens."""
    drawn = sequences * tokens
    exact = policy.exact(0, prompt - 1, 0) + sequences * policy.exact(prompt - 1, tokens, tokens)
    return Cost({"policy": drawn}, paper=policy.paper(drawn), exact=exact)


def _scoring(verifier: CostModel | None, prompt: int, sequences: int, tokens: int) -> Cost:
    """Each of those continuations scored once; nothing without a verifier."""
    if verifier is None or sequences == 0:
        return Cost()
    exact = verifier.exact(0, prompt, 0) + sequences * verifier.exact(prompt, tokens, tokens)
    return Cost({"verifier": sequences * tokens}, paper=verifier.paper(sequences * tokens), exact=exact)


def _shared(prepared: Prepared, each: list[Need], typical: int) -> Cost:
    """One problem by all strategies: independent samples of one temperature are drawn once, and scored once."""
    total = Cost()
    drawn: dict[tuple[float, float], int] = {}
    scored: dict[tuple[float, float], int] = {}
    for strategy, need in zip(prepared.strategies, each, strict=True):
        searches = isinstance(strategy, _SEARCHES)
        if not isinstance(strategy, (*_INDEPENDENT, *_SEARCHES)) or (
            searches and strategy.n > 1  # a search of one is one of these samples
        ):
            total += need.expected
            continue
        sampling = (strategy.temperature, strategy.top_p)
        drawn[sampling] = max(drawn.get(sampling, 0), strategy.n)
        if strategy.uses_verifier:
            scored[sampling] = max(scored.get(sampling, 0), strategy.n)
    for sampling, n in drawn.items():
        total += _drawing(prepared.costs["policy"], prepared.prompt_tokens, n, typical)
        total += _scoring(
            prepared.costs.get("verifier"), prepared.prompt_tokens, scored.get(sampling, 0), typical
        )
    return total


def _times(cost: Cost, factor: int) -> Cost:
    tokens = {role: count * factor for role, count in cost.tokens.items()}
    return Cost(tokens, cost.paper * factor, cost.exact * factor)
