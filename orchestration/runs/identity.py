"""What an outcome's key is: a hash of all that could make two outcomes differ.

It knows nothing of how outcomes are made or kept. Invariant: two outcomes have one key only if nothing that could make them
differ differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from actors.engines.identity import model_hash, tokenizer_hash
from actors.strategy import ROLES, Role
from orchestration.problems import Problem
from orchestration.setup.engine_choice import engine_identity
from orchestration.setup.models import ModelSetup
from orchestration.setup.prepare import Prepared


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """All of a model's set-up that can change what it draws or scores: hashes of its files and its tokenizer's, dtype and
    engine. Hashes are of contents (`actors.engines.identity`): a model that moved is the same, one that was retrained is not.
    """

    files: str
    tokenizer: str
    dtype: str
    engine: str


NO_MODEL = ModelIdentity("", "", "", "")


@dataclass(frozen=True, slots=True)
class Identity:
    """All of a set-up, besides problem, strategy and seed, that can change an outcome; `models` has each role's model."""

    models: Mapping[Role, ModelIdentity]
    grader: str
    prompt: str
    delimiter: str
    max_tokens: int

    def salt(self, role: Role) -> str:
        """All that decides a role's draws besides their tokens, limits and seed, or its scores of tokens besides them."""
        one = self.models[role]
        # Ids are scored whatever text they stand for; draws end and part where the tokenizer says.
        names = () if role == "verifier" else (one.tokenizer,)
        return _digest(one.files, *names, one.dtype, one.engine, self.delimiter)

    def flat(self, *, without: Collection[Role] = ()) -> dict[str, Any]:
        """The same by the names that run.json and keys have, as if there were no model of some roles."""
        policy = self.models["policy"]
        named = {
            "policy": policy.files,
            "tokenizer": policy.tokenizer,
            "dtype": policy.dtype,
            "engine": policy.engine,
        }
        others = {role: model for role, model in self.models.items() if role not in ("policy", *without)}
        # Keys of today name a verifier even where there is none, and no other role that there is not.
        for role, one in ({"verifier": NO_MODEL} | others).items():
            named |= {role: one.files, f"{role}_dtype": one.dtype, f"{role}_engine": one.engine}
            # As in `salt`: what draws ends and parts where its tokenizer says.
            named |= {} if role == "verifier" else {f"{role}_tokenizer": one.tokenizer}
        # Every field there is: one that is added later is part of the key by itself.
        return named | {one.name: getattr(self, one.name) for one in fields(self) if one.name != "models"}


def problem_hash(problem: Problem) -> str:
    """Hash of what a problem says: id, question and reference, in hex."""
    return _digest(problem.id, problem.question, problem.answer)


def outcome_key(problem: str, strategy: str, asked: Collection[Role], seed: int, identity: Identity) -> str:
    """Hash of all that decides an outcome: problem (its hash), strategy's full text, seed and set-up, in hex.

    Models of roles that the strategy has not `asked` are no part of it.
    """
    setup = identity.flat(without=[role for role in ROLES if role not in asked])
    return _digest(problem, strategy, seed, sorted(setup.items()))


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def identify(prepared: Prepared) -> Identity:
    """Hash the models' files: seconds for large ones."""
    settings = prepared.settings
    models = {role: _model_identity(model) for role, model in prepared.models.items()}
    if not settings.policy.reproducible:
        policy = models["policy"]
        models["policy"] = replace(policy, engine=f"{policy.engine}, not reproducible")
    return Identity(
        models=models,
        grader=prepared.grader.version,
        prompt=json.dumps(asdict(settings.policy.prompt), ensure_ascii=False, sort_keys=True),
        delimiter=settings.policy.delimiter,
        max_tokens=settings.policy.max_tokens,
    )


def _model_identity(model: ModelSetup) -> ModelIdentity:
    tokenizer = tokenizer_hash(model.tokenizer)
    if model.target is not None:
        return ModelIdentity(model.target.identity(), tokenizer, model.dtype, "own")
    engine = engine_identity(model.engine, gpus=model.share.gpus, device=model.share.device)
    return ModelIdentity(model_hash(model.path), tokenizer, model.dtype, engine)
