"""Traces of stored problems, in some orders of their samples each: what a value table is fitted to.

It knows pools and standings, nothing of fitting. Invariant: what a trace shows is what the bench shows, move by move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from actors.seeds import derive
from orchestration.allocation.fitting import Seen, Trace
from orchestration.allocation.value_table import PROMPT, START, Offer
from orchestration.planning.bench import WEIGHTED, Bench, counting_in
from orchestration.planning.pools import Pool
from orchestration.strategies.standing import Standing, after, judged, standing
from orchestration.strategies.tally import Counting


def traces_of(
    pools: Sequence[Pool], offer: Offer, *, orders: int, seed: int, counting: Counting = WEIGHTED
) -> list[Trace]:
    """Every problem in so many orders. Raises ValueError for a pool with fewer samples than are offered."""
    found = []
    for pool in pools:
        searches = {
            text: standing(pool.searches[text].candidates, counting_in(counting, text))
            for text in offer.searches
        }
        found += [
            _trace(pool, offer, searches, derive(seed, "order", order), counting) for order in range(orders)
        ]
    return found


def _trace(
    pool: Pool, offer: Offer, searches: Mapping[str, Standing], seed: int, counting: Counting
) -> Trace:
    if len(pool.samples) < offer.samples[-1]:
        raise ValueError(
            f"{pool.problem} has {len(pool.samples)} samples, and {offer.samples[-1]} are offered"
        )
    bench = Bench([pool], float("inf"), seed=seed, counting=counting)
    standings: dict[str, Standing] = {START: bench.standing(0)}
    moves: dict[tuple[str, str], Seen] = {}
    before = START
    if offer.prompt:
        bench.ask(0)
        moves[START, PROMPT] = Seen(bench.standing(0).evidence, False, bench.spent)
        standings[START] = bench.standing(0)
    for count in offer.samples:
        spent = bench.spent
        bench.draw(0, count - bench.drawn(0))
        now = standings[str(count)] = bench.standing(0)
        moves[before, str(count)] = Seen(now.evidence, bool(bench.judge().right[0]), bench.spent - spent)
        before = str(count)
    for source, target in replace(offer, prompt=False).moves:
        if target in offer.searches:
            found = pool.searches[target]
            now = judged(after(searches[target], standings[source]), standings[START].evidence.prompt)
            standings.setdefault(target, now)
            moves[source, target] = Seen(now.evidence, found.correct, found.flops)
    return Trace(pool.problem, moves)
