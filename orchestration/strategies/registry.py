"""The strategies that have a short name in texts such as `beam(n=16,width=4)`.

It knows nothing of how texts are read. Invariant: a strategy's text begins with its name here.
"""

from __future__ import annotations

from actors.strategy import Strategy
from orchestration.strategies.adaptive_consistency import AdaptiveConsistency
from orchestration.strategies.beam import Beam
from orchestration.strategies.best_of_n import BestOfN
from orchestration.strategies.dvts import Dvts
from orchestration.strategies.early_stopping import EarlyStopping
from orchestration.strategies.greedy import Greedy
from orchestration.strategies.lookahead import Lookahead
from orchestration.strategies.majority import Majority
from orchestration.strategies.mcts import Mcts
from orchestration.strategies.monte_carlo import MonteCarlo
from orchestration.strategies.particle_filtering import ParticleFiltering
from orchestration.strategies.rebase import Rebase

STRATEGIES: dict[str, type[Strategy]] = {
    "greedy": Greedy,
    "majority": Majority,
    "early_stopping": EarlyStopping,
    "adaptive_consistency": AdaptiveConsistency,
    "best_of_n": BestOfN,
    "beam": Beam,
    "lookahead": Lookahead,
    "dvts": Dvts,
    "rebase": Rebase,
    "particle_filtering": ParticleFiltering,
    "mcts": Mcts,
    "monte_carlo": MonteCarlo,
}
