"""All allocators that are compared, each made of the same calibration problems: the global price, the paper's, uniform ones,
and the field's.

It knows which there are, nothing of how they work. Invariant: whatever one of them learns, it learns from `known` alone;
of `telling` samples, which nobody draws, some are told the values, and one the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orchestration.allocation.fitting import fit_table
from orchestration.allocation.value_table import Offer
from orchestration.planning.baselines.adabon import AdaBon
from orchestration.planning.baselines.adaptive_consistency import TunedConsistency
from orchestration.planning.baselines.blend_asc import BlendAsc
from orchestration.planning.baselines.damani import DamaniOffline, DamaniOnline, rate_model
from orchestration.planning.baselines.elimination import Elimination
from orchestration.planning.baselines.optimal_stopping import OptimalStopping
from orchestration.planning.baselines.per_bin import Binned, PerBin, ToldBins
from orchestration.planning.baselines.random_split import RandomSplit
from orchestration.planning.baselines.uab import Uab
from orchestration.planning.baselines.uniform import Uniform
from orchestration.planning.bench import WEIGHTED
from orchestration.planning.curves import curves_of, halved
from orchestration.planning.difficulty import predicted
from orchestration.planning.one_price import OnePrice
from orchestration.planning.pools import Pool
from orchestration.planning.replay import Allocation
from orchestration.planning.tracing import traces_of

BEST_OF_N: Final = "best-of-N weighted"
SINGLE: Final = "best single strategy"
PREDICTED: Final = "compute-optimal, predicted bins"
FREE: Final = "compute-optimal, predicted bins for free"
ORACLE: Final = "compute-optimal, oracle bins"
PRICE: Final = "one price"
PLAIN_PRICE: Final = "one price, samples alone"


@dataclass(frozen=True, slots=True)
class Line:
    """One allocator, and whether it is one of the `field`'s."""

    allocation: Allocation
    field: bool = False


def line_up(
    known: Sequence[Pool], offer: Offer, telling: Sequence[Pool], *, orders: int, seed: int
) -> list[Line]:
    """All of them; what is learnt is learnt once, here. Of the calibration problems, too, bins that are told for free are
    told of one half of the samples, and strategies chosen for them by the other."""
    traces = traces_of(known, offer, orders=orders, seed=seed)
    samples = replace(offer, searches=())
    table, plain = fit_table(offer, traces), fit_table(samples, traces)
    curves = curves_of(known, offer.samples, offer.searches, orders=orders, seed=seed)
    alone = curves.only(str.isdigit).ladder()
    within = [one for one in offer.samples if one <= len(known[0].samples) // 2]
    first = curves_of(known, within or offer.samples[:1], offer.searches, orders=orders, seed=seed, half=0)

    def told(name: str, measure: Callable[[Pool], float]) -> ToldBins:
        values = np.array([measure(halved(pool, 1)) for pool in known])
        asked: Mapping[str, float] = {pool.problem: measure(pool) for pool in telling}
        return ToldBins(Binned.of(first, values), asked, name)

    model = rate_model(known, seed=seed)
    main: list[Allocation] = [
        Uniform(alone, BEST_OF_N),
        Uniform(curves.ladder(), SINGLE),
        PerBin.of(known, curves, seed=seed),
        told(FREE, _mean_value),
        told(ORACLE, lambda pool: pool.rate),
    ]
    others: list[Allocation] = [
        RandomSplit(),
        DamaniOffline.of(known, curves, model, seed=seed),
        DamaniOnline(model),
        Uab(),
        AdaBon(),
        Elimination(),
        TunedConsistency.of(known, seed=seed),
        OptimalStopping.of(known, seed=seed),
        BlendAsc(),
    ]
    prices = [OnePrice(plain, name=PLAIN_PRICE), OnePrice(table, name=PRICE)]
    return [*map(Line, main), *(Line(one, field=True) for one in others), *map(Line, prices)]


def _mean_value(pool: Pool) -> float:
    return predicted([WEIGHTED.value(one.candidate) for one in pool.samples])
