"""The families by name: what their folders look like, how they are shown a solution, and which head gives a score.

It reads configs, headers of weights and tokenizers, and imports no torch. Invariant: a folder is taken for a family's only by
what is in it; where that does not tell, its user has to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from actors.engines.base import Thinking
from actors.engines.folder_files import read_settings, settings_if_any
from actors.engines.positions import steady_context
from actors.engines.verifiers.families.analysing import AnalysisChat
from actors.engines.verifiers.families.base import Choice, Wording
from actors.engines.verifiers.families.chats import BOXED, EXTRA, OutcomeChat, TaggedChat, TurnChat, YesNoChat
from actors.engines.verifiers.families.formats import (
    TRAINED,
    MathShepherd,
    OutcomeText,
    Skywork,
    Trl,
    check_separator,
)
from actors.engines.verifiers.families.labels import good_class
from actors.engines.verifiers.families.pieces import Pieces
from actors.engines.verifiers.families.thinking import ThinkChat
from actors.engines.weights import tensor_shapes
from actors.errors import UserError, counted, nearest

HeadKind = Literal["layers", "linear", "value", "reward", "words"]
"""Two layers `score.0` and `score.2`; one, `score`, `v_head.summary` or `reward_head`; two words of the language model."""

HEADS: Mapping[HeadKind, tuple[str, ...]] = {
    "layers": ("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias"),
    "linear": ("score.weight", "score.bias"),
    "value": ("v_head.summary.weight", "v_head.summary.bias"),
    "reward": ("reward_head.weight", "reward_head.bias"),
    "words": (),
}
"""The tensors of each kind of head; those of `linear` may lack the bias."""

PICKLED = "reward_head.pt"
"""As the head of ReasonFlux-PRM-1.5B is published, beside its weights."""


@dataclass(frozen=True, slots=True)
class Family:
    """`heads` are those that its models have, `labels` how many classes (0: any that give one value), `make` its wording.
    `steps` says how steps of its training ended, and for each of these ends how they began; empty where any will do.

    `version` is raised with every change that gives the same text another score; `thinking` is how one writes, unless it is
    told, that writes before its score, and `whole` says that it writes one judgement of all steps together. Of two classes
    the second is good, but where `named` that which the config calls so.
    """

    name: str
    about: str
    heads: tuple[HeadKind, ...]
    labels: int
    make: Callable[[Pieces, Choice], Wording]
    separator: str | None = None
    version: int = 3
    thinking: Thinking | None = None
    whole: bool = False
    named: bool = False
    steps: Mapping[str, str] = field(default_factory=dict)


def family_config(folder: Path) -> Any:
    """The config of a family's folder, its context no longer than the sliding window of any of its layers: within it the
    window hides nothing, and the local engine has full attention alone."""
    from actors.engines.model_config import read_config

    config = read_config(folder)
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    if window and window < int(text.max_position_embeddings):
        text.max_position_embeddings = int(window)
    # Some models need it, for the layers that have it are of another kind.
    if window and "sliding_attention" not in (getattr(text, "layer_types", None) or ()):
        text.sliding_window = None
    return config


@cache
def context_of(folder: Path) -> int:
    """Tokens that a family's model takes."""
    text = family_config(folder).get_text_config()
    return steady_context(text) or int(text.max_position_embeddings)


def _padding(folder: Path) -> int | None:
    found = read_settings(folder, "config.json").get("pad_token_id")
    return found if isinstance(found, int) else None


def _trl(pieces: Pieces, one: Choice) -> Wording:
    given = "\n" if one.separator is None else one.separator
    check_separator(pieces, given)
    return Trl(pieces, context_of(one.path), given)


def _outcome(system: str | None) -> Callable[[Pieces, Choice], Wording]:
    return lambda pieces, one: OutcomeChat(pieces, context_of(one.path), system, _padding(one.path))


THINKS = Thinking(4096)
"""As in the recipes of ThinkPRM's authors: one chain, greedy."""

ANALYSES = Thinking(2048)
"""As long as GenPRM's authors let it write, but greedy."""

FAMILIES: Mapping[str, Family] = {
    one.name: one
    for one in (
        Family(
            "qwen_math_prm",
            "Qwen2.5-Math-PRM-7B and -72B, Qwen2.5-Math-7B-PRM800K",
            ("layers",),
            2,
            lambda pieces, one: TaggedChat(pieces, context_of(one.path), BOXED),
            steps={"\n\n": ""},
        ),
        Family(
            "reasonflux_prm",
            "ReasonFlux-PRM-7B",
            ("layers",),
            2,
            lambda pieces, one: TaggedChat(pieces, context_of(one.path), None),
            steps={"\n\n": ""},
        ),
        Family(
            "reasonflux_prm_1_5b",
            "ReasonFlux-PRM-1.5B",
            ("reward",),
            1,
            lambda pieces, one: OutcomeText(pieces, min(context_of(one.path), TRAINED)),
        ),
        Family(
            "math_shepherd",
            "math-shepherd-mistral-7b-prm",
            ("words",),
            2,
            lambda pieces, one: MathShepherd(pieces, context_of(one.path)),
            version=4,
            steps={"\n": "Step 1: "},
        ),
        Family(
            "rlhflow_prm",
            "Llama3.1-8B-PRM-Deepseek-Data and -Mistral-Data",
            ("words",),
            2,
            lambda pieces, one: TurnChat(pieces, context_of(one.path)),
            # Deepseek-Data, and Mistral-Data.
            steps={"\n\n": "", "\n": "Step 1: "},
        ),
        Family(
            "skywork_prm",
            "Skywork-o1-Open-PRM-Qwen-2.5-1.5B and -7B",
            ("value",),
            1,
            lambda pieces, one: Skywork(pieces, context_of(one.path)),
            steps={"\n": ""},
        ),
        Family(
            "trl_prm",
            "what TRL's PRMTrainer makes",
            ("linear",),
            2,
            _trl,
            separator="\n",
            version=4,
            named=True,
        ),
        Family(
            "outcome",
            "reward models for sequence classification",
            ("linear", "layers"),
            0,
            _outcome(None),
            version=4,
            named=True,
        ),
        Family("qwen_math_rm", "Qwen2.5-Math-RM-72B", ("layers",), 1, _outcome(BOXED)),
        Family(
            "judge",
            "any chat model, asked whether the steps are right",
            ("words",),
            2,
            lambda pieces, one: YesNoChat(pieces, context_of(one.path)),
        ),
        Family(
            "thinkprm",
            "ThinkPRM-1.5B, -7B and -14B",
            ("words",),
            2,
            lambda pieces, one: ThinkChat(pieces, context_of(one.path), one.thinking or THINKS),
            thinking=THINKS,
            whole=True,
        ),
        Family(
            "genprm",
            "GenPRM-1.5B, -7B and -32B, without programs",
            ("words",),
            2,
            lambda pieces, one: AnalysisChat(pieces, context_of(one.path), one.thinking or ANALYSES),
            thinking=ANALYSES,
            steps={"\n\n": ""},
        ),
    )
}


def family_of(name: str) -> Family:
    """The family of a name. Raises UserError, with the names that there are, for another."""
    if name not in FAMILIES:
        mend = f"choose one of {', '.join(sorted(FAMILIES))}{nearest(name, FAMILIES)}"
        raise UserError.of("verifier.family", name, mend)
    return FAMILIES[name]


def told(folder: Path) -> Family | None:
    """The family that a model folder's files tell; None where they tell none."""
    shapes, kinds = tensor_shapes(folder), _architectures(folder)
    labels = shapes.get("score.2.weight", shapes.get("score.weight", (0,)))[0]
    if HEADS["value"][0] in shapes:
        return FAMILIES["skywork_prm"]
    if HEADS["reward"][0] in shapes:
        return FAMILIES["reasonflux_prm_1_5b"]
    if HEADS["layers"][0] in shapes:
        if labels == 2 and EXTRA in _added(folder):
            return FAMILIES["qwen_math_prm"]
        if labels == 1:
            return FAMILIES["qwen_math_rm"]
    if HEADS["linear"][0] in shapes:
        if "ForTokenClassification" in kinds:
            return FAMILIES["trl_prm"]
        if "ForSequenceClassification" in kinds:
            return FAMILIES["outcome"]
    return None


def recognised(folder: Path, named: str = "") -> Family:
    """The family of a model folder, `named` so by its user. Raises UserError where its files do not tell one."""
    family = told(folder)
    if family is not None:
        return family
    names = ", ".join(sorted(FAMILIES))
    mend = (
        "it is not a process reward model of this policy (there is no value_head.json), and its files do not tell which "
        f"public family it is of: set verifier.family to one of {names}; or flopwise train prm makes one"
    )
    raise UserError.of("verifier.path", named or str(folder), mend)


def head_of(folder: Path, family: Family) -> HeadKind:
    """Which head a family's folder has. Raises UserError where it has none that is the family's."""
    shapes = tensor_shapes(folder)
    for kind in family.heads:
        names = HEADS[kind]
        if not names and (own := told(folder)) is not None:
            mend = f"the family {family.name} reads a language model's head, and by its files it is of the family {own.name}"
            raise UserError.of("verifier.path", str(folder), mend)
        if not names:
            return kind
        if names[0] not in shapes:
            continue
        last = shapes[names[2] if kind == "layers" else names[0]]
        if family.labels in (0, last[0]) and last[0] in (1, 2):
            good_of(folder, family)
            return kind
        wanted = family.labels or "1 or 2"
        given = counted(last[0], "value")
        mend = f"its head gives {given}, and one of the family {family.name} {wanted}: it is another's"
        raise UserError.of("verifier.path", str(folder), mend)
    if "reward" in family.heads and (folder / PICKLED).is_file():
        mend = (
            f"its head is pickled ({PICKLED}), and reading a pickle can run any code: save it once as safetensors, as "
            "docs/models.md says"
        )
        raise UserError.of("verifier.path", str(folder), mend)
    wanted = " or ".join(HEADS[kind][0] for kind in family.heads)
    mend = f"its weights have no {wanted}, which is the head of the family {family.name}: "
    own = told(folder)
    mend += f"its files tell that it is of the family {own.name}" if own else "choose its own family"
    raise UserError.of("verifier.path", str(folder), mend)


def good_of(folder: Path, family: Family) -> int:
    """Which of two classes is the good one. Raises UserError where their names contradict one another."""
    return good_class(folder) if family.named else 1


def head_weights(folder: Path, family: Family) -> tuple[int, int] | None:
    """How many weights and biases a family's head has; None where it is the language model's own."""
    kind = head_of(folder, family)
    if kind == "words":
        return None
    shapes = tensor_shapes(folder)
    sizes = {name: shapes[name] for name in HEADS[kind] if name in shapes}
    matrices = sum(size[0] * size[1] for size in sizes.values() if len(size) == 2)
    return matrices, sum(size[0] for size in sizes.values() if len(size) == 1)


def _architectures(folder: Path) -> str:
    return " ".join(read_settings(folder, "config.json").get("architectures") or ())


def _added(folder: Path) -> set[str]:
    """The special tokens of a folder's tokenizer."""
    found = settings_if_any(folder, "tokenizer.json").get("added_tokens") or ()
    return {str(one.get("content")) for one in found if isinstance(one, dict)}
