"""Small tokenizers of the kinds that public verifiers have: special tokens that take white space with them, added tokens that
are not special, a space before the text alone, and special tokens that are pieces of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.support.public_verifiers import byte_level, sentence_pieces

PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""As Phi-3's; it puts its tags together of their parts."""

INSTRUCT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST]' + message['content'] + '[/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
"""As Mistral's of late, which puts no spaces around its tags."""

USER_ONLY = (
    "{%- for message in messages %}{{ '<｜User｜>\n\n' + message.content + '<|im_end|>\n\n' }}{%- endfor %}"
)


def taking() -> PreTrainedTokenizerFast:
    """As Phi-3's: its special tokens take the white space behind them, and one here that before it."""
    tokenizer = sentence_pieces()
    tags = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
    both = [AddedToken(one, rstrip=True, special=True, normalized=False) for one in tags]
    both.append(AddedToken("<|sep|>", lstrip=True, special=True, normalized=False))
    tokenizer.add_tokens(both, special_tokens=True)
    tokenizer.chat_template = PHI3
    return tokenizer


def added() -> PreTrainedTokenizerFast:
    """As Pythia's and Gemma's: runs of spaces and of line breaks are added tokens, and so are tags that are not special, as
    DeepSeek's."""
    tokenizer = byte_level("chatml", bos=False, added=["<|further|>"])
    runs = ["   ", "\n\n\n", "    "]
    tokenizer.add_tokens([AddedToken(one, special=False, normalized=False) for one in runs])
    tokenizer.add_tokens([AddedToken("<｜User｜>", special=False, normalized=False)])
    tokenizer.chat_template = USER_ONLY
    return tokenizer


def first_space() -> PreTrainedTokenizerFast:
    """As Mistral's and Llama 2's of late: a space is put before a text, and before nothing behind a special token."""
    tokenizer = sentence_pieces()
    backend = tokenizer.backend_tokenizer
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_tokens(["[INST]", "[/INST]"], special_tokens=True)
    tokenizer.chat_template = INSTRUCT
    return tokenizer


def likeliest() -> PreTrainedTokenizerFast:
    """As T5's and XLM-R's: the likeliest pieces, among which are its special tokens, as in their vocabularies."""
    special = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("[INST]", 0.0), ("[/INST]", 0.0)]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-*/=.,:?!<>[]|▁"
    pieces = [*special, *((one, -6.0) for one in letters), ("▁the", -3.0), ("ad", -4.0), ("st", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["[INST]", "[/INST]"],
        chat_template=INSTRUCT,
    )


def whole_words() -> PreTrainedTokenizerFast:
    """As Llama 3's, which takes a word that is a piece as it is: here its special tokens are pieces, made of others."""
    merges = [("<", "|"), ("|", ">"), ("<|", "x"), ("<|x", "|>")]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {
        one: i for i, one in enumerate([*letters, *(a + b for a, b in merges), "[INST]", "[/INST]"])
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|x|>",
        eos_token="<|x|>",
        additional_special_tokens=["[INST]", "[/INST]"],
        chat_template=INSTRUCT,
    )


KINDS: Mapping[str, Callable[[], PreTrainedTokenizerFast]] = {
    "qwen": lambda: byte_level("chatml", bos=False),
    "llama": lambda: byte_level("llama3", bos=True),
    "taking": taking,
    "added": added,
    "first_space": first_space,
    "likeliest": likeliest,
    "whole_words": whole_words,
}


def save_kind(kind: str, folder: Path) -> Path:
    KINDS[kind]().save_pretrained(folder)
    return folder
