"""What tasks are worked on with: that of a whole run, and that of one task.

It knows no strategy and no engine's insides. Invariant: nothing starts for a task that has ended.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.replicas.clients import (
    Unit,
)
from actors.replicas.reader import ReaderPlan
from actors.work import (
    CostModel,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every task of a run is worked on with. The salts stand for all of the models' set-up that decides a draw or a
    score: whatever exists under the same salt is used again. `strategies` are those of all tasks, pickled, by their texts."""

    reader: ReaderPlan
    policy_cost: CostModel
    verifier_cost: CostModel | None
    unit: Unit
    max_tokens: int
    likelihoods: bool = True
    policy_salt: str = ""
    verifier_salt: str = ""
    strategies: tuple[tuple[str, bytes], ...] = ()
