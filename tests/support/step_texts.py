"""Texts in steps as chat models write them, tokenizers that cut their newlines in many ways, and a model that writes such.

The delimiter is an empty line. A byte-level vocabulary may have it across two tokens (GPT-2's always, before a word), inside
one (".\\n\\n"), or in the middle of one ("\\n\\nSo").
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

DELIMITER = "\n\n"
END = "<|endoftext|>"
ROWS = 500
SENTENCES = (
    "First we add 12 and 30",
    "So there are 42 apples",
    "Let x be the price",
    "We get x = 7",
    "Now divide both sides by 6",
    "That leaves 5 of them",
    "The rest is clear",
)
BEFORE = (".", ":", "!", ")", "", " ", ".  ", "$$", "|", "**")
AFTER = ("", "", "- ", "1. ", "   ", "\n", "## ", "\t", "(", "é ")
CUTS = {
    "GPT-2": None,
    "Llama 3": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "none": "",
}
"""How a text is cut before merges: by GPT-2's rule, by Llama 3's, not at all."""


@cache
def texts(count: int = 200) -> tuple[str, ...]:
    """Solutions of two to ten steps, some with a newline that ends none."""
    drawn = random.Random(0)
    found = []
    for _ in range(count):
        steps = []
        for _ in range(drawn.randint(2, 10)):
            lines = drawn.sample(SENTENCES, drawn.randint(1, 2))
            steps.append(drawn.choice(AFTER) + "\n".join(lines) + drawn.choice(BEFORE))
        found.append(DELIMITER.join(steps))
    return tuple(found)


@cache
def tokenizer_of(cut: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE that was trained on the texts."""
    tokenizer = Tokenizer(models.BPE())
    rule = CUTS[cut]
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule is None)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(rule), "isolated"), bytes_of])
        if rule
        else bytes_of
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ROWS - 1,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def step_count(text: str) -> int:
    """Steps that are not blank."""
    return sum(bool(piece.strip()) for piece in text.split(DELIMITER))


def save_writer(folder: Path, tokenizer: Any, written: Sequence[str]) -> Path:
    """A model that writes one token after another as often as these texts do: nothing in it looks further back."""
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=ROWS,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    seen = torch.full((ROWS, ROWS), 1e-4)
    for text in written:
        ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
        for one, following in pairwise(ids):
            seen[one, following] += 1
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    state = model.state_dict()
    for name, weight in state.items():
        weight.fill_(1.0 if "norm" in name else 0.0)
    state["model.embed_tokens.weight"].copy_(torch.eye(ROWS))
    # The last norm makes a row of the table sqrt(ROWS) times as long.
    told = (seen / seen.sum(dim=1, keepdim=True)).log().T / ROWS**0.5
    # Seeds hang on the weights, and the last bit of a logarithm on the processor.
    state["lm_head.weight"].copy_((told * 4096).round() / 4096)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
