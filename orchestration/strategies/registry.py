"""The strategies that have a short name in texts such as `beam(n=16,width=4)`.

A new one is a file of its own and a line here: what it needs, and where a report puts it, it says itself. Reports show
families in the order that stands here. It knows nothing of how texts are read. Invariant: a strategy's text begins with its
name here.
"""

from __future__ import annotations

from actors.strategy import Described
from orchestration.strategies.compute_optimal import ComputeOptimal
from orchestration.strategies.revision.refine import Refine
from orchestration.strategies.revision.revision import Revision
from orchestration.strategies.revision.revision_search import RevisionSearch
from orchestration.strategies.revision.rsa import Rsa
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

STRATEGIES: dict[str, type[Described]] = {
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
    "revision": Revision,
    "rsa": Rsa,
    "refine": Refine,
    "revision_search": RevisionSearch,
    "compute_optimal": ComputeOptimal,
}
