"""The tokens that end a text, by all that a model folder says of them.

Three files name some: config.json, generation_config.json and the tokenizer's. A model ends with any of them: which of the
files has the one that it was trained to write differs between models. It reads files and knows nothing of engines.
Invariant: each is an id of the model's vocabulary.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actors.errors import UserError


def end_ids(folder: Path, config: Any) -> tuple[int, ...]:
    """The end tokens of a folder whose config transformers has read, each once: the config's own first."""
    text = config.get_text_config()
    found = [*_ids(config.eos_token_id), *_ids(text.eos_token_id), *_beside_config(folder)]
    return tuple(one for one in dict.fromkeys(found) if 0 <= one < int(text.vocab_size))


def further_ends(folder: Path) -> tuple[int, ...]:
    """End tokens that generation config or tokenizer name and config.json does not, in order."""
    config = _json(folder / "config.json")
    own = {*_ids(config.get("eos_token_id")), *_ids(config.get("text_config", {}).get("eos_token_id"))}
    return tuple(sorted({*_beside_config(folder)} - own))


def _beside_config(folder: Path) -> list[int]:
    """What generation config and tokenizer name."""
    return [*_ids(_json(folder / "generation_config.json").get("eos_token_id")), *_tokenizer_end(folder)]


def _tokenizer_end(folder: Path) -> list[int]:
    """The tokenizer's end token, where its vocabulary has it: transformers would take the token of unknown words else."""
    names = [_json(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json")]
    named = next((one["eos_token"] for one in names if one.get("eos_token")), None)
    word = named.get("content") if isinstance(named, dict) else named
    file = folder / "tokenizer.json"
    if not isinstance(word, str) or not file.is_file():
        return []
    from tokenizers import Tokenizer

    number = Tokenizer.from_file(str(file)).token_to_id(word)
    return [] if number is None else [number]


def _ids(named: Any) -> list[int]:
    """A config names one token, several or none."""
    if named is None:
        return []
    return [int(one) for one in named] if isinstance(named, list | tuple) else [int(named)]


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        mend = f"{file.name} is not JSON ({error}): copy or save it again"
        raise UserError.of("model", str(file.parent), mend) from None
    return found if isinstance(found, dict) else {}
