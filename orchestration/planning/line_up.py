"""All allocators that are compared, each made of the same calibration problems: the global price, the field's, uniform
ones.

It knows which there are, nothing of how they work. Invariant: whatever one of them learns, it learns from `known` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestration.allocation.fitting import fit_table
from orchestration.allocation.value_table import Offer
from orchestration.planning.baselines.adabon import AdaBon
from orchestration.planning.baselines.adaptive_consistency import TunedConsistency
from orchestration.planning.baselines.blend_asc import BlendAsc
from orchestration.planning.baselines.damani import DamaniOffline, DamaniOnline, rate_model
from orchestration.planning.baselines.elimination import Elimination
from orchestration.planning.baselines.optimal_stopping import OptimalStopping
from orchestration.planning.baselines.per_bin import PerBin
from orchestration.planning.baselines.random_split import RandomSplit
from orchestration.planning.baselines.uab import Uab
from orchestration.planning.baselines.uniform import Uniform
from orchestration.planning.curves import curves_of
from orchestration.planning.one_price import OnePrice
from orchestration.planning.pools import Pool
from orchestration.planning.replay import Allocation
from orchestration.planning.tracing import traces_of

PROBE = 4
"""Samples that tell a bin, where one does not."""


def line_up(known: Sequence[Pool], offer: Offer, *, orders: int, seed: int) -> list[Callable[[], Allocation]]:
    """Makers of each, for replays that begin anew; what is learnt is learnt once, here."""
    traces = traces_of(known, offer, orders=orders, seed=seed)
    curves = curves_of(known, offer.samples, offer.searches, orders=orders, seed=seed)
    model = rate_model(known, seed=seed)
    samples = Offer(offer.samples)
    table, plain = fit_table(offer, traces), fit_table(samples, traces)
    first = PerBin.of(known, curves, offer.samples[0], seed=seed)
    bins = PerBin.of(known, curves, PROBE, seed=seed)
    free = PerBin.of(known, curves, PROBE, seed=seed, free=True)
    offline = DamaniOffline.of(known, curves, model, seed=seed)
    stopping = OptimalStopping.of(known, seed=seed)
    return [
        lambda: Uniform(curves, searches=False),
        lambda: Uniform(curves),
        lambda: first,
        lambda: bins,
        lambda: free,
        RandomSplit,
        lambda: offline,
        lambda: DamaniOnline(model),
        Uab,
        AdaBon,
        Elimination,
        lambda: TunedConsistency(known),
        lambda: stopping,
        BlendAsc,
        lambda: OnePrice(plain, samples, name="one price, samples alone"),
        lambda: OnePrice(table, offer),
    ]
