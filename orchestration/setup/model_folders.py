"""Model folders as a user names them: found, and known to be whole, before anything is started.

It reads configs, tokenizers and the headers of weights, and knows nothing of torch or of engines. Invariant: what is
refused here is refused by the name of the setting that led to it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.engines.folder_files import has_chat_template, read_settings
from actors.engines.positions import steady_context
from actors.engines.verifiers.families.known import told
from actors.engines.weights import check_readable, weight_files
from actors.errors import UserError, nearest
from orchestration.setup.domains import BUNDLED, bundled, folder_of
from orchestration.setup.hub_models import NotFetched, fetched
from orchestration.setup.meant import no_model, of_hub


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that holds a whole model. `context` is in tokens, None where its config names none; `vocabulary` has every
    token and its id: the same ids mean the same text, however the files were written. `steady_context` is as in
    `actors.engines.positions`, `added` are tokens that its tokenizer has beyond its own vocabulary."""

    path: Path
    context: int | None
    vocabulary: dict[str, int]
    tokenizer: Any
    has_chat_template: bool = False
    steady_context: int | None = None
    added: frozenset[str] = frozenset()

    def reads_as(self, other: ModelFolder) -> bool:
        """Whether the same ids mean the same text in both: what one of them has besides may only be tokens that were added to
        its tokenizer, such as a [PAD]."""
        mine, theirs = self.vocabulary, other.vocabulary
        both = mine.keys() & theirs.keys()
        more = (mine.keys() - both - self.added) | (theirs.keys() - both - other.added)
        ids = {mine[token] for token in mine.keys() - both} & {theirs[token] for token in both}
        ids |= {theirs[token] for token in theirs.keys() - both} & {mine[token] for token in both}
        return bool(both) and not more and not ids and all(mine[token] == theirs[token] for token in both)


def resolved(given: str) -> Path:
    """A path with its ~ resolved; one of a user that there is not stays as it is."""
    return Path(os.path.expanduser(given))


def existing(field: str, given: str) -> Path:
    """The file or folder that a setting names. Raises UserError, with the nearest that is there, where there is none."""
    path = resolved(given)
    if not path.exists():
        siblings = [str(one) for one in path.parent.glob("*")]
        raise UserError.of(field, given, f"there is no such file or folder{nearest(given, siblings)}")
    return path.resolve()


def is_bundled(path: str | None) -> bool:
    """Whether a path means a model that comes with flopwise."""
    return path is not None and path.partition("/")[0] == BUNDLED


def model_folder(path: str, kind: str) -> Path:
    """The folder of a model; "bundled/countdown" is the one of a domain that comes with flopwise, "bundled/countdown/orm" its
    verifier of revisions, and a name of the Hugging Face hub, with no folder of that name here, is fetched from there.
    UserError where there is none."""
    if is_bundled(path):
        known = bundled(kind)
        if path not in known:
            raise UserError.of(
                f"{kind}.path", path, f"choose one of {', '.join(known)}{nearest(path, known)}"
            )
        name = path.partition("/")[2]
        folder, domain = folder_of(name, kind), name.partition("/")[0]
        mend = (
            f"there is none at {folder}; make it with flopwise train {folder.name} {folder} domain={domain}"
        )
    else:
        folder = resolved(path).resolve()
        why = ""
        if of_hub(path):
            try:
                folder = fetched(path)
            except NotFetched as error:
                why = str(error)
        siblings = [str(file.parent) for file in resolved(path).parent.glob("*/config.json")]
        mend = no_model(path, why)
        mend = mend or f"there is no model's folder (with a config.json){nearest(path, siblings)}"
    if not (folder / "config.json").is_file():
        raise UserError.of(f"{kind}.path", path, mend)
    return folder


def has_value_head(folder: Path) -> bool:
    """Whether a folder is that of a verifier which flopwise trained: another is of a public family."""
    return (folder / "value_head.json").is_file()


def read_model(path: str, kind: str, *, chat: bool = False, weights: bool = True) -> ModelFolder:
    """Check the folder of a model of this `kind` ("policy" or "verifier"): `weights` in safetensors, config, tokenizer, for
    `chat` its template, for a verifier its value head, if it has one. Raises UserError for the first that is missing or
    damaged. Of a model that runs elsewhere its weights may be missing.
    """
    whole, field = model_folder(path, kind), f"{kind}.path"
    # Messages name the folder as its user did.
    folder = resolved(path) if resolved(path).is_dir() and not is_bundled(path) else whole
    config = read_settings(folder, "config.json", field)
    text = config.get("text_config", config)
    if weights:
        weight_files(folder, field)
        if kind != "verifier" and (family := told(folder)) is not None:
            mend = (
                f"it is a verifier (of the family {family.name}), and writes nothing: give it as verifier=folder "
                f"verifier.path={path}, and here a language model"
            )
            raise UserError.of(field, path, mend)
    if kind == "verifier" and has_value_head(folder):
        width = read_settings(folder, "value_head.json", field).get("hidden_size")
        if width != text.get("hidden_size"):
            mend = (
                f"its value head reads {width} hidden units and the model has {text.get('hidden_size')}: it is another "
                "model's value head"
            )
            raise UserError.of(field, path, mend)
        check_readable(folder / "value_head.safetensors", field)
    tokenizer = _tokenizer(folder, field)
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    rows = text.get("vocab_size")
    own: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)
    # Tokens that were added, and that no text has, do not make it another model's.
    if isinstance(rows, int) and own and max(own.values()) >= rows:
        mend = (
            f"its tokenizer has ids up to {max(own.values()):,} and the model {rows:,} tokens (config.json, "
            "vocab_size): it is another model's tokenizer"
        )
        raise UserError.of(field, path, mend)
    template = has_chat_template(folder, field)
    if chat and not template:
        mend = "this tokenizer has no chat template: set policy=base (plain text), or choose an instruction-tuned model"
        raise UserError.of("policy.prompt.chat", True, mend)
    context = text.get("max_position_embeddings")
    added = frozenset(vocabulary.keys() - own.keys()) | frozenset(_added(tokenizer))
    return ModelFolder(whole, context, vocabulary, tokenizer, template, steady_context(text), added)


def _tokenizer(folder: Path, field: str) -> Any:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError.of(
            field, str(folder), "no tokenizer.json there; save the model with its fast tokenizer"
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        mend = f"tokenizer.json is damaged ({error}): copy or save it again"
        raise UserError.of(field, str(folder), mend) from None


def _added(tokenizer: Any) -> list[str]:
    """Tokens that were added to a tokenizer, those that its own vocabulary has as well."""
    return [str(one.content) for one in tokenizer.get_added_tokens_decoder().values()]
