"""A public verifier, from its settings: which family it is of, what its tokens cost, how much it reads.

It reads configs, headers of weights and a tokenizer, and knows nothing of Ray, nor of torch but to check what loading would.
Invariant: a folder that is not of the family named, or that tells none, is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from actors.engines.base import Thinking
from actors.engines.verifiers.families.base import Wording
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.verifiers.families.known import (
    HEADS,
    Family,
    context_of,
    family_config,
    family_of,
    head_of,
    head_weights,
    recognised,
)
from actors.engines.vllm.bodies import body_of
from actors.errors import UserError
from orchestration.flops import ModelCost
from orchestration.setup.model_folders import has_value_head, model_folder
from orchestration.setup.settings import VerifierSettings

_WRITES = {"max_tokens": "tokens", "temperature": "temperature", "chains": "chains"}
"""The settings that say how a judge writes, as `Thinking` names them."""


@dataclass(frozen=True, slots=True)
class PublicVerifier:
    """`context` is in the verifier's own tokens; `wording` is None as long as the policy is not known."""

    family: ChosenFamily
    cost: ModelCost
    context: int
    wording: Wording | None = None


def is_public(settings: VerifierSettings) -> bool:
    """Whether a verifier is a public one: its family is named, or its folder is none of flopwise's. Raises UserError where
    there is no such folder, and for a family named of a verifier of flopwise."""
    assert settings.path is not None
    ours = has_value_head(model_folder(settings.path, "verifier"))
    if settings.family is not None:
        family_of(settings.family)
        if ours:
            mend = "verifier.path has a value_head.json, so it is a verifier that flopwise trained: leave it null"
            raise UserError.of("verifier.family", settings.family, mend)
    if settings.separator is not None and ours:
        mend = "a verifier that flopwise trained reads steps as they are: leave it null"
        raise UserError.of("verifier.separator", settings.separator, mend)
    return not ours


def _thinking(settings: VerifierSettings, family: Family) -> Thinking | None:
    """How a judge is to write. Raises UserError for what cannot be meant."""
    given = {name: value for name in _WRITES if (value := getattr(settings, name)) is not None}
    if family.thinking is None:
        for name, value in given.items():
            mend = f"one of the family {family.name} writes nothing before it scores: leave it null"
            raise UserError.of(f"verifier.{name}", value, mend)
        return None
    one = replace(family.thinking, **{_WRITES[name]: value for name, value in given.items()})
    for name, value in (("max_tokens", one.tokens), ("chains", one.chains)):
        if value < 1:
            raise UserError.of(f"verifier.{name}", value, "it must be at least 1")
    if not 0 <= one.temperature <= 10:
        mend = "it must lie between 0, which takes the likeliest token, and 10"
        raise UserError.of("verifier.temperature", one.temperature, mend)
    if one.chains > 1 and not one.temperature:
        mend = (
            "at temperature 0 all chains would be one: set verifier.temperature, as 0.4, or verifier.chains=1"
        )
        raise UserError.of("verifier.chains", one.chains, mend)
    return one


def read_public(settings: VerifierSettings, folder: Path, policy: Path | None) -> PublicVerifier:
    """Tell the family of a folder, and check it; `policy` is the folder of the model whose solutions it judges, without which
    its tokenizer is not looked at. Raises UserError."""
    assert settings.path is not None
    family = family_of(settings.family) if settings.family is not None else recognised(folder, settings.path)
    if settings.engine == "vllm":
        if family.thinking is not None:
            mend = "a judge that writes runs on the local engine: leave it auto, or set local"
            raise UserError.of("verifier.engine", settings.engine, mend)
        body_of(folder, settings.path)
    if settings.separator is not None and family.separator is None:
        mend = f"the family {family.name} has a format of its own for that: leave it null"
        raise UserError.of("verifier.separator", settings.separator, mend)
    thinking = _thinking(settings, family)
    chosen = ChosenFamily(family.name, folder, policy or folder, settings.separator, thinking)
    try:
        cost = ModelCost.from_folder(folder, head_weights(folder, family))
        # Reads the tokenizer, whose tags and template the family needs.
        wording = None if policy is None else chosen.wording()
    except UserError as error:
        # Told by the path as its user gave it.
        raise UserError(str(error).replace(repr(str(folder)), repr(settings.path))) from None
    if wording is None:
        return PublicVerifier(chosen, cost, context_of(folder))
    if (writing := wording.writing) is not None:
        chains = writing.thinking.chains
        cost = replace(cost, writes=writing.most, chains=chains, stepwise=writing.stepwise)
    return PublicVerifier(chosen, cost, wording.context, wording)


def check_public(chosen: ChosenFamily) -> None:
    """Raise UserError where loading on the local engine would, as far as config and headers tell."""
    # Loads torch, which a run leaves to its replicas.
    from actors.engines.local.preview import check_folder

    beside = HEADS[head_of(chosen.path, family_of(chosen.name))]
    check_folder(chosen.path, "take another model", config=family_config(chosen.path), beside=beside)
