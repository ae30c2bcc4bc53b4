"""The tokens that end a text, by all that a model folder says of them.

Three files name some: config.json, generation_config.json and the tokenizer's; and a chat template writes one behind what an
assistant said. A model ends with any of them: which it was trained to write differs between models. It reads files and knows
nothing of engines. Invariant: each is an id of the model's vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.engines.folder_files import has_chat_template, settings_if_any

_ASKED, _SAID = "What is 7 x 6?", "It is 42 in all."
"""A conversation that any chat template takes."""


def end_ids(folder: Path, config: Any) -> tuple[int, ...]:
    """The end tokens of a folder whose config transformers has read, each once: the config's own first."""
    return tuple(dict.fromkeys(one for named in ends_by_source(folder, config).values() for one in named))


def ends_by_source(folder: Path, config: Any) -> dict[str, list[int]]:
    """The same by what names them."""
    text = config.get_text_config()
    # A config of several models may have them for its text alone.
    own = [*_ids(getattr(config, "eos_token_id", None)), *_ids(text.eos_token_id)]
    found = {"config.json": own, **_beside_config(folder)}
    rows = int(text.vocab_size)
    return {
        source: [one for one in dict.fromkeys(named) if 0 <= one < rows] for source, named in found.items()
    }


def further_ends(folder: Path) -> tuple[int, ...]:
    """End tokens that something else names and config.json does not, in order."""
    config = settings_if_any(folder, "config.json")
    own = {*_ids(config.get("eos_token_id")), *_ids(config.get("text_config", {}).get("eos_token_id"))}
    return tuple(sorted({one for named in _beside_config(folder).values() for one in named} - own))


def _beside_config(folder: Path) -> dict[str, list[int]]:
    """What names end tokens beside config.json, and which."""
    return {
        "generation_config.json": _ids(settings_if_any(folder, "generation_config.json").get("eos_token_id")),
        "the tokenizer": _tokenizer_end(folder),
        "the chat template": _turn_end(folder),
    }


def _tokenizer_end(folder: Path) -> list[int]:
    """The tokenizer's end token, where its vocabulary has it: transformers would take the token of unknown words else."""
    names = [settings_if_any(folder, name) for name in ("tokenizer_config.json", "special_tokens_map.json")]
    named = next((one["eos_token"] for one in names if one.get("eos_token")), None)
    word = named.get("content") if isinstance(named, dict) else named
    file = folder / "tokenizer.json"
    if not isinstance(word, str) or not file.is_file():
        return []
    from tokenizers import Tokenizer

    number = Tokenizer.from_file(str(file)).token_to_id(word)
    return [] if number is None else [number]


def _turn_end(folder: Path) -> list[int]:
    """The special token that the chat template writes behind what an assistant said; none where it writes none, fails, or is
    not there."""
    if not has_chat_template(folder) or not (folder / "tokenizer.json").is_file():
        return []
    from transformers import AutoTokenizer

    turns = [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": _SAID}]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception:  # of any kind; whoever has to use it says so
        return []
    special = {one.content: number for number, one in tokenizer.added_tokens_decoder.items() if one.special}
    # As the last turn first: within a conversation a template may end a turn with what also ends a model's thoughts.
    for asked in (turns, [*turns, turns[0]]):
        try:
            _, _, rest = tokenizer.apply_chat_template(asked, tokenize=False).partition(_SAID)
        except Exception:  # a template raises what it likes
            continue
        if (number := _first(rest.lstrip(), special)) is not None:
            return [number]
    return []


def _first(text: str, special: Mapping[str, int]) -> int | None:
    """The special token with which a text begins; the longest where several do."""
    begun = [word for word in special if word and text.startswith(word)]
    return special[max(begun, key=len)] if begun else None


def _ids(named: Any) -> list[int]:
    """A config names one token, several or none."""
    if named is None:
        return []
    return [int(one) for one in named] if isinstance(named, list | tuple) else [int(named)]
