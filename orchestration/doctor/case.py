"""What is known of a set-up while it is looked at: each check adds what it found, and leaves out what it could not tell.

It knows settings and what they name; it checks nothing. Invariant: what stands here was found to be sound by the check that
put it here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from actors.strategy import ROLES, Role, Strategy, asked_by
from orchestration.doctor.findings import Mark
from orchestration.problems import Dataset, Grader, Problem, PromptFormat
from orchestration.runs.prompts import Prompts
from orchestration.setup.contexts import Contexts
from orchestration.setup.model_folders import ModelFolder
from orchestration.setup.models import ModelSetup
from orchestration.setup.settings import EvaluateSettings

LOOK = 1000
"""Problems that are looked at, from the first."""


@dataclass(slots=True)
class Case:
    """`folders` hold whole models, `alone` those that can be loaded, `models` those that fit the policy as well; all by role.
    `problems` are the first `LOOK`, and `ids` their prompts'. `marks` are of all that was found so far."""

    settings: EvaluateSettings
    strategies: tuple[Strategy, ...] = ()
    dataset: Dataset | None = None
    grader: Grader | None = None
    prompt: PromptFormat | None = None
    problems: tuple[Problem, ...] = ()
    folders: dict[Role, ModelFolder] = field(default_factory=dict)
    alone: dict[Role, ModelSetup] = field(default_factory=dict)
    models: dict[Role, ModelSetup] = field(default_factory=dict)
    ids: tuple[tuple[int, ...], ...] = ()
    contexts: Contexts | None = None
    marks: list[Mark] = field(default_factory=list)
    begun: str = field(default_factory=lambda: datetime.now().isoformat())

    @property
    def asked(self) -> tuple[Role, ...]:
        """The roles that strategies ask and settings name; all that are named where no strategy could be read."""
        named = [role for role in ROLES if self._named(role)]
        wanted = {role for one in self.strategies for role in asked_by(one)} | {"policy"}
        return tuple(role for role in named if not self.strategies or role in wanted)

    def _named(self, role: Role) -> bool:
        given = getattr(self.settings, role)
        return given.path is not None or getattr(given, "_target_", None) is not None

    @property
    def prompts(self) -> Prompts | None:
        """What makes the policy's prompts; None where policy or prompt are not known."""
        policy = self.folders.get("policy")
        if policy is None or self.prompt is None:
            return None
        return Prompts(self.prompt, policy.path, self.begun)
