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


def read_framing(settings: EvaluateSettings, models: Mapping[Role, ModelSetup]) -> Framed | None:
    """The format of the run's reviser; None without one. Raises UserError where its tokenizer cannot tell attempts apart."""
    reviser = models.get("reviser")
    if reviser is None:
        return None
    from transformers import AutoTokenizer

    chat, turn, known = settings.policy.prompt.chat, settings.reviser.turn, trained_format(reviser.path)
    given = RevisionFormat(turn=turn) if turn is not None else known or RevisionFormat()
    tokenizer = AutoTokenizer.from_pretrained(
        reviser.tokenizer, local_files_only=True, trust_remote_code=False
    )
    try:
        ends = end_ids(reviser.path, read_config(reviser.path))
        bound = given.bind(tokenizer, ends, chat=chat)
    except UserError as error:
        raise UserError.of("reviser.path", settings.reviser.path, str(error)) from None
    words = {name: value for name, value in asdict(given).items() if name != "attempts"}
    note = ""
    if known is None and turn is None:
        note = (
            "the reviser was not trained to read earlier attempts: that its later ones are better is not to be expected; "
            "flopwise train reviser makes one that was"
        )
    # How many it reads the strategies say, whose texts are in keys.
    return Framed(replace(bound, attempts=1 << 20), json.dumps({**words, "chat": chat}, sort_keys=True), note)
