"""Tiny model folders of many kinds, made on the spot: a family's random weights, a tokenizer, end tokens, a chat template.

A row names what differs from a small llama with a byte-level tokenizer. To add one: a row in a test's table, and a family,
tokenizer or change of the saved files here where it is new.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.support.families import save_random

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<|user|>", "<|assistant|>", "<|end|>"]
PAD, BOS, EOS, UNK = range(4)
WORDS = ["the", "answer", "is", "step", "so", "add", "two", "and", "three"]
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.,:;?!+-*/=#()'"
VOCABULARY = 400
"""Rows of every embedding: more than any of these tokenizers has, as with real models."""


def byte_level() -> Tokenizer:
    """As GPT-2's: bytes, and newlines that are split from one another before a word."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ"), (".", "Ċ"), (".", "ĊĊ"), ("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e")]
    pieces = [*SPECIAL, *letters, *(first + second for first, second in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={one: i for i, one in enumerate(pieces)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece_decoder() -> Any:
    return decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )


def _bytes() -> list[str]:
    return [f"<0x{number:02X}>" for number in range(256)]


def metaspace() -> Tokenizer:
    """As Llama 2's: spaces written as ▁, one before the text, and bytes for what no token says (the newline among them)."""
    pieces = [*SPECIAL, *_bytes(), "▁", *CHARACTERS]
    merges = [("t", "h"), ("th", "e"), ("▁", "the")]
    pieces += [first + second for first, second in merges]
    vocabulary = {one: i for i, one in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = _sentencepiece_decoder()
    return tokenizer


def unigram() -> Tokenizer:
    """As SentencePiece's unigram models."""
    pieces = [*SPECIAL, *_bytes(), "▁", *CHARACTERS, "\n", *(f"▁{word}" for word in WORDS)]
    scored = [(one, -2.0 if one.startswith("▁") else -5.0) for one in pieces]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=UNK, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    tokenizer.decoder = _sentencepiece_decoder()
    return tokenizer


def wordpiece() -> Tokenizer:
    """As BERT's: words, and what goes on inside one behind ##; no newline in it."""
    pieces = [*SPECIAL, *WORDS, *CHARACTERS, *(f"##{one}" for one in CHARACTERS)]
    tokenizer = Tokenizer(models.WordPiece({one: i for i, one in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "metaspace": metaspace,
    "unigram": unigram,
    "wordpiece": wordpiece,
}


@cache
def _made(kind: str) -> str:
    return TOKENIZERS[kind]().to_str()


def tokenizer_of(kind: str, *, bos: bool = False, eos: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of a kind that puts <s> before a text, or </s> behind it, by itself."""
    tokenizer = Tokenizer.from_str(_made(kind))
    if bos or eos:
        single = ["<s>"] * bos + ["$A"] + ["</s>"] * eos
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(single), special_tokens=[("<s>", BOS), ("</s>", EOS)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=SPECIAL[4:],
    )


@dataclass(frozen=True, slots=True)
class Folder:
    """One row: what a model folder is, and `refused`, a part of the one line that refuses it before compute.

    `family` is the config's class in transformers, `config` what it is given beside the sizes that all share. `ends` are the
    files that name an end token which the model comes to ("config", "generation", "tokenizer").
    """

    name: str
    family: str = "LlamaConfig"
    config: tuple[tuple[str, Any], ...] = ()
    tokenizer: str = "byte-level"
    bos: bool = False
    eos: bool = False
    template: str | None = None
    ends: tuple[str, ...] = ()
    refused: str = ""

    def save(self, folder: Path) -> Path:
        """Write it as transformers does."""
        sizes: dict[str, Any] = {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
            "pad_token_id": PAD,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
        }
        config = getattr(transformers, self.family)(**(sizes | dict(self.config)))
        save_random(config, folder)
        tokenizer = tokenizer_of(self.tokenizer, bos=self.bos, eos=self.eos)
        if self.template is not None:
            tokenizer.chat_template = self.template
        tokenizer.save_pretrained(folder)
        return folder


def name_end(folder: Path, where: str, token: int, word: str) -> None:
    """Have one of a folder's files name another end token."""
    file, key = {
        "config": ("config.json", "eos_token_id"),
        "generation": ("generation_config.json", "eos_token_id"),
        "tokenizer": ("tokenizer_config.json", "eos_token"),
    }[where]
    content = json.loads((folder / file).read_text())
    content[key] = word if where == "tokenizer" else [EOS, token] if where == "generation" else token
    (folder / file).write_text(json.dumps(content))
