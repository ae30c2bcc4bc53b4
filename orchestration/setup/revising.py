"""How a run's reviser is shown its earlier attempts: as it was trained, or as settings say it.

It reads a tokenizer and the reviser's folder, and knows nothing of engines. Invariant: two set-ups whose revisers may read
something else have other words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from actors.engines.end_tokens import end_ids
from actors.engines.model_config import read_config
from actors.errors import UserError
from actors.strategy import Role, Strategy, asked_by
from orchestration.problems.revising import Revising, RevisionFormat, trained_format
from orchestration.setup.models import ModelSetup
from orchestration.setup.settings import EvaluateSettings


@dataclass(frozen=True, slots=True)
class Framed:
    """The format in the policy's token ids, in `words` that keys have, and what a user should know of it."""

    revising: Revising
    words: str
    note: str = ""


def reads_of(strategies: Iterable[Strategy]) -> int:
    """How many attempts a reviser reads at once, at most."""
    # What a user's own class does not say is taken to be as much as the paper's.
    revising = (one for one in strategies if "reviser" in asked_by(one))
    return max((getattr(one, "reads", RevisionFormat().attempts) for one in revising), default=0)


def read_judging(settings: EvaluateSettings, models: Mapping[Role, ModelSetup]) -> Framed | None:
    """The format of a verifier that was trained to read earlier attempts; None of another."""
    verifier = models.get("verifier")
    if verifier is None or verifier.target is not None:
        return None
    known = trained_format(verifier.path, "verifier.path", settings.verifier.path)
    return None if known is None else _bound("verifier", known, verifier, settings)


def read_framing(settings: EvaluateSettings, models: Mapping[Role, ModelSetup]) -> Framed | None:
    """The format of the run's reviser; None without one. Raises UserError where its tokenizer cannot tell attempts apart."""
    reviser = models.get("reviser")
    if reviser is None:
        return None
    turn, known = settings.reviser.turn, trained_format(reviser.path, "reviser.path", settings.reviser.path)
    given = RevisionFormat(turn=turn) if turn is not None else known or RevisionFormat()
    note = ""
    if known is None and turn is None:
        note = (
            "the reviser was not trained to read earlier attempts: that its later ones are better is not to be expected; "
            "flopwise train reviser makes one that was"
        )
    return replace(_bound("reviser", given, reviser, settings), note=note)


def _bound(role: Role, given: RevisionFormat, model: ModelSetup, settings: EvaluateSettings) -> Framed:
    from transformers import AutoTokenizer

    prompt = settings.policy.prompt
    tokenizer = AutoTokenizer.from_pretrained(model.tokenizer, local_files_only=True, trust_remote_code=False)
    try:
        ends = end_ids(model.path, read_config(model.path))
        bound = given.bind(tokenizer, ends, chat=prompt.chat, chat_options=prompt.chat_options)
    except UserError as error:
        # Told by the setting that names the model, and by what plain text is called here.
        why = str(error).removeprefix(str(UserError.of("format.turn", given.turn, "")))
        why = why.replace("chat=false", "policy=base")
        raise UserError.of(f"{role}.path", getattr(settings, role).path, why) from None
    # How many it reads the strategies say, whose texts are in keys.
    words = {name: value for name, value in asdict(given).items() if name != "attempts"} | {
        "chat": prompt.chat
    }
    return Framed(replace(bound, attempts=1 << 20), json.dumps(words, sort_keys=True))
