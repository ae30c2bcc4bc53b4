"""What an outcome's key is: a hash of all that could make two outcomes differ.

It knows nothing of how outcomes are made or kept. Invariant: two outcomes have one key only if nothing that could make them
differ differs.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from actors.engines.identity import tokenizer_hash
from actors.engines.model_config import model_hash
from actors.strategy import ROLES, Role, Strategy, asked_by
from orchestration.problems import Problem, PromptFormat
from orchestration.setup.engine_choice import engine_identity
from orchestration.setup.models import ModelSetup
from orchestration.setup.prepare import Prepared
from orchestration.setup.revising import Framed

KEYS = 2
"""Version of how keys are made, in run.json: keys of another version are never equal to those of this one. Raise it with
every change that gives the same outcome, sample or score another key."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """All of a model's set-up that can change what it draws or scores: hashes of its files and its tokenizer's, dtype,
    and engine with the kind of device that it runs on; of one that reads earlier attempts, how it `reads` them.
    Hashes are of contents (`actors.engines.identity`): a model that moved is the same, one that was retrained is not.
    """

    files: str
    tokenizer: str
    dtype: str
    engine: str
    reads: str = ""


NO_MODEL = ModelIdentity("", "", "", "")


@dataclass(frozen=True, slots=True)
class Identity:
    """All of a set-up, besides problem, strategy and seed, that can change an outcome; `models` has each role's model,
    `delimiter` says what ends a step and a solution."""

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
        } | ({"reads": policy.reads} if policy.reads else {})
        others = {role: model for role, model in self.models.items() if role not in ("policy", *without)}
        # Keys of today name a verifier even where there is none, and no other role that there is not.
        for role, one in ({"verifier": NO_MODEL} | others).items():
            named |= {role: one.files, f"{role}_dtype": one.dtype, f"{role}_engine": one.engine}
            # As in `salt`: what draws ends and parts where its tokenizer says.
            named |= {} if role == "verifier" else {f"{role}_tokenizer": one.tokenizer}
            named |= {f"{role}_reads": one.reads} if one.reads else {}
        # Every field there is: one that is added later is part of the key by itself.
        return named | {one.name: getattr(self, one.name) for one in fields(self) if one.name != "models"}


def model_hashes(flat: Mapping[str, Any]) -> dict[str, str]:
    """What a plan knows models by, of an identity that is `flat`: hashes of files by role, a reviser's with how it is shown
    attempts."""
    found: dict[str, str] = {role: str(flat[role]) for role in ROLES if flat.get(role)}
    if "reviser" in found:
        found["reviser"] = _digest(found["reviser"], flat.get("reviser_reads", ""))
    return found


def setup_hash(flat: Mapping[str, Any]) -> str:
    """A hash of what decides a sample besides the models, of an identity that is `flat`."""
    return _digest(*(flat[name] for name in ("prompt", "delimiter", "max_tokens")))[:16]


def content_hash(problem: Problem, prompt: Sequence[int]) -> int:
    """64 bits of what a problem of this id says: question, answer and reference, and the token ids of its prompt, which hang
    on more than the tokenizer's files (a chat template may tell the date)."""
    ids = array("i", prompt).tobytes()
    prompted = hashlib.blake2b(ids, digest_size=8).hexdigest()
    return int(_digest(problem.question, problem.answer, problem.reference, prompted)[:16], 16)


class KeyMaker:
    """Keys of one set-up's outcomes, strategy by strategy."""

    def __init__(self, strategies: Iterable[Strategy], identity: Identity) -> None:
        self._strategies = [(one, _strategy_hash(one.text, asked_by(one), identity)) for one in strategies]

    def keys(self, problem_id: str, content: int, seed: int) -> list[tuple[Strategy, str]]:
        """Each strategy with the key of its outcome."""
        return [(one, _digest(problem_id, content, hashed, seed)) for one, hashed in self._strategies]


def outcome_key(
    problem_id: str, content: int, strategy: str, asked: Collection[Role], seed: int, identity: Identity
) -> str:
    """Hash of all that decides an outcome: problem (`content` is its `content_hash`), strategy's full text, seed and set-up,
    in hex.

    Models of roles that the strategy has not `asked` are no part of it.
    """
    return _digest(problem_id, content, _strategy_hash(strategy, asked, identity), seed)


def _strategy_hash(strategy: str, asked: Collection[Role], identity: Identity) -> str:
    setup = identity.flat(without=[role for role in ROLES if role not in asked])
    return _digest(strategy, sorted(setup.items()))


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def identify(prepared: Prepared) -> Identity:
    """Hash the models' files: seconds for large ones."""
    settings = prepared.settings
    models = {role: _model_identity(model) for role, model in prepared.models.items()}
    framed: dict[Role, Framed | None] = {"reviser": prepared.framing, "verifier": prepared.judging}
    for role, one in framed.items():
        if one is not None:
            models[role] = replace(models[role], reads=one.words)
    if not settings.policy.reproducible:
        for role in models.keys() - {"verifier"}:
            models[role] = replace(models[role], engine=f"{models[role].engine}, not reproducible")
    if prepared.measure is not None:
        models["verifier"] = _confidence(prepared.measure, models["policy"])
    return Identity(
        models=models,
        grader=prepared.grader.version,
        prompt=_prompt_words(prepared.prompt),
        delimiter=prepared.ending,
        max_tokens=settings.policy.max_tokens,
    )


def _confidence(measure: str, policy: ModelIdentity) -> ModelIdentity:
    """What decides the scores of the policy's own confidence: what is measured, and all that decides its likelihoods."""
    return ModelIdentity(f"{measure} of {policy.files}", "", policy.dtype, policy.engine)


def _prompt_words(prompt: PromptFormat) -> str:
    said: dict[str, Any] = {"template": prompt.template, "chat": prompt.chat, "system": prompt.system}
    if prompt.shots:
        said |= {"shots": prompt.shots, "examples": _digest(prompt.examples)}
    if prompt.chat_options:
        said |= {"chat_options": prompt.chat_options}
    return json.dumps(said, ensure_ascii=False, sort_keys=True)


def _model_identity(model: ModelSetup) -> ModelIdentity:
    tokenizer = tokenizer_hash(model.tokenizer)
    device = model.share.device_kind
    if model.target is not None:
        return ModelIdentity(model.target.identity(), tokenizer, model.dtype, engine_identity("own", device))
    if model.family is not None:
        files = model.family.identity()
        return ModelIdentity(files, tokenizer, model.dtype, engine_identity(model.engine, device))
    engine = engine_identity(model.engine, device, model.served)
    return ModelIdentity(model_hash(model.path), tokenizer, model.dtype, engine)
