"""The strategies that have a short name in texts such as `beam(n=16,width=4)`.

It knows nothing of how texts are read. Invariant: a strategy's text begins with its name here.
"""

from __future__ import annotations

from actors.work import Strategy
from orchestration.strategies.beam import Beam
from orchestration.strategies.best_of_n import BestOfN
from orchestration.strategies.greedy import Greedy
from orchestration.strategies.majority import Majority
from orchestration.strategies.monte_carlo import MonteCarlo

STRATEGIES: dict[str, type[Strategy]] = {
    "greedy": Greedy,
    "majority": Majority,
    "best_of_n": BestOfN,
    "beam": Beam,
    "monte_carlo": MonteCarlo,
}
