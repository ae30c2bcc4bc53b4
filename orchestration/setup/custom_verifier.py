"""A verifier of a user's own (`verifier._target_`), from its settings: what is called, what it costs, how much it can read.

It knows nothing of Ray or torch, though what it imports may. Invariant: a target that cannot be imported, or called with what
it will be, is refused here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from actors.engines.folder_files import read_settings
from actors.engines.verifiers.custom import Target
from actors.errors import UserError
from orchestration.flops import ModelCost
from orchestration.setup.model_folders import existing
from orchestration.setup.settings import VerifierSettings


@dataclass(frozen=True, slots=True)
class OwnVerifier:
    """`context` is in tokens, None where it is not known."""

    target: Target
    cost: ModelCost
    context: int | None


def read_own(settings: VerifierSettings, policy: Path) -> OwnVerifier:
    """Check a target's settings; `policy` is the folder of the model whose tokens it scores. Raises UserError."""
    assert settings._target_ is not None
    path = None if settings.path is None else existing("verifier.path", settings.path)
    target = Target(
        settings._target_,
        _canonical(settings),
        path,
        policy,
        settings.parameters,
    )
    target.check()
    context = None
    if path is not None and (path / "config.json").is_file():
        config = read_settings(path, "config.json", "verifier.path")
        context = config.get("text_config", config).get("max_position_embeddings")
    return OwnVerifier(target, _cost(target), context)


def _canonical(settings: VerifierSettings) -> str:
    for name, value in settings.options.items():
        try:
            kept = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            kept = False
        if not kept:
            mend = "it must be a text, a number, true, false, null, a list of such, or a mapping of texts to such"
            raise UserError.of(f"verifier.{name}", value, mend)
    return json.dumps(settings.options, sort_keys=True, ensure_ascii=False)


def _cost(target: Target) -> ModelCost:
    """Two FLOPs a token for each of the parameters that are given, by both accountings; else as the config in its path."""
    count = target.parameters
    if count is not None:
        return ModelCost(parameters=count, matrix=count, head=0, hidden=0, width=0, full_layers=0)
    if target.path is not None and (target.path / "config.json").is_file():
        return ModelCost.from_folder(target.path)
    mend = (
        "it says what scoring costs, and there is no config.json in verifier.path that does: give the number of parameters "
        "that work on a token (2 FLOPs each), 0 for a rule"
    )
    raise UserError.of("verifier.parameters", None, mend)
