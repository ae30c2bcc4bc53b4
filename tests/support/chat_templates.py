"""Chat templates of well-known families, written from what their model cards say a prompt looks like, and tokenizers with
their special tokens, of bytes otherwise, so that the ids of a prompt can be spelt by hand.

A family's name is that of the pair in conf/pair that is meant for it, where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, PreTrainedTokenizerFast

from tests.support.families import save_random

_CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
)
_GEMMA = (
    "{%- for message in messages %}"
    "{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{%- endif %}"
    "{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\n' }}"
    "{{- (system if loop.first else '') + message.content | trim + '<end_of_turn>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{%- endif %}"
)


def _default_system(text: str) -> str:
    return (
        f"{{%- if messages[0].role != 'system' %}}{{{{- '<|im_start|>system\n{text}<|im_end|>\n' }}}}{{%- endif %}}"
        f"{_CHATML}{{%- endif %}}"
    )


@dataclass(frozen=True, slots=True)
class Family:
    """`special` are its special tokens, `words` those that are tokens and no special ones; with `begins` its tokenizer puts
    the first of `special` before every text, as its template does."""

    name: str
    template: str
    special: tuple[str, ...]
    end: str
    words: tuple[str, ...] = ()
    begins: bool = False

    def ids(self, *pieces: str) -> list[int]:
        """Pieces spelt by hand: one that is a token is its id, others are their bytes."""
        known = [*self.special, *self.words]
        spelt = [
            [known.index(one)] if one in known else [len(known) + byte for byte in one.encode()]
            for one in pieces
        ]
        return [token for one in spelt for token in one]

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A tokenizer of these tokens and the 256 bytes, in this order."""
        known = [*self.special, *self.words]
        vocabulary = {one: place for place, one in enumerate([*known, *map(_written, range(256))])}
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens([AddedToken(one, normalized=False, special=True) for one in self.special])
        backend.add_tokens([AddedToken(one, normalized=False, special=False) for one in self.words])
        if self.begins:
            first = self.special[0]
            backend.post_processor = processors.TemplateProcessing(
                single=f"{first} $A", special_tokens=[(first, 0)]
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            bos_token=self.special[0] if self.begins else None,
            eos_token=self.end,
            pad_token=self.special[0],
            chat_template=self.template,
        )

    def save(self, folder: Path) -> Path:
        """A tiny random checkpoint with this tokenizer."""
        tokenizer = self.tokenizer()
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=2048,
            bos_token_id=0,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=0,
        )
        save_random(config, folder)
        tokenizer.save_pretrained(folder)
        return folder


def _written(byte: int) -> str:
    """How GPT-2's tokenizer writes a byte: as itself where it is printed, else as a letter behind all bytes."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printed:
        return chr(byte)
    return chr(256 + sum(one not in printed for one in range(byte)))


FAMILIES = {
    one.name: one
    for one in (
        Family(
            "llama_3_2",
            "{{- bos_token }}{%- if date_string is not defined %}{%- if strftime_now is defined %}"
            "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
            "{%- endif %}{%- set system = '' %}{%- if messages[0].role == 'system' %}"
            "{%- set system = messages[0].content | trim %}{%- set messages = messages[1:] %}{%- endif %}"
            "{{- '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' "
            "+ date_string + '\n\n' + system + '<|eot_id|>' }}"
            "{%- for message in messages %}{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' "
            "+ message.content | trim + '<|eot_id|>' }}{%- endfor %}"
            "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}",
            ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            "<|eot_id|>",
            begins=True,
        ),
        Family(
            "qwen2_5",
            _default_system("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
            ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            "<|im_end|>",
        ),
        Family(
            "qwen3",
            _CHATML + "{%- if enable_thinking is defined and enable_thinking is false %}"
            "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}",
            ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            "<|im_end|>",
            words=("<think>", "</think>"),
        ),
        Family(
            "smollm2",
            _default_system("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
            ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            "<|im_end|>",
        ),
        Family(
            "gemma_2",
            "{{ bos_token }}{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
            "{%- endif %}{%- set system = '' %}" + _GEMMA,
            ("<bos>", "<start_of_turn>", "<end_of_turn>"),
            "<end_of_turn>",
            begins=True,
        ),
        Family(
            "gemma_3",
            "{{ bos_token }}{%- set system = '' %}{%- if messages[0].role == 'system' %}"
            "{%- set system = messages[0].content + '\n\n' %}{%- set messages = messages[1:] %}{%- endif %}"
            + _GEMMA,
            ("<bos>", "<start_of_turn>", "<end_of_turn>"),
            "<end_of_turn>",
            begins=True,
        ),
        Family(
            "r1_distill",
            "{{- bos_token }}{%- for message in messages %}"
            "{%- if message.role == 'system' %}{{- message.content }}"
            "{%- elif message.role == 'user' %}{{- '<｜User｜>' + message.content }}"
            "{%- else %}{{- '<｜Assistant｜>' + message.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}"
            "{%- endif %}"
            "{%- endfor %}{%- if add_generation_prompt %}{{- '<｜Assistant｜><think>\n' }}{%- endif %}",
            ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
            "<｜end▁of▁sentence｜>",
            words=("<think>", "</think>"),
            begins=True,
        ),
    )
}

QUESTION = "What is 1 + 1?"
BRIEF = "Be brief."
SHOTS = (("2 + 2?", "2 + 2 = 4\n\n#### 4\n"),)

_LLAMA = (
    "<|begin_of_text|>", "<|start_header_id|>", "system", "<|end_header_id|>",
    "\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
)  # fmt: skip
_LLAMA_USER = ("<|eot_id|>", "<|start_header_id|>", "user", "<|end_header_id|>", "\n\n")
_LLAMA_SAYS = ("<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n")
_SYSTEM, _USER, _SAYS = (("<|im_start|>", f"{role}\n") for role in ("system", "user", "assistant"))
_END = ("<|im_end|>", "\n")
_QWEN = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_SMOL = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
_ASKS, _ANSWERS = ("<start_of_turn>", "user\n"), ("<start_of_turn>", "model\n")
_OVER = ("<end_of_turn>", "\n")

PROMPTS: dict[str, dict[str, Sequence[str]]] = {
    "llama_3_2": {
        "plain": (*_LLAMA, *_LLAMA_USER, QUESTION, *_LLAMA_SAYS),
        "system": (*_LLAMA, BRIEF, *_LLAMA_USER, QUESTION, *_LLAMA_SAYS),
        # It trims what is said: an example's last line break is no part of its turn.
        "shots": (
            *_LLAMA, BRIEF, *_LLAMA_USER, "2 + 2?", *_LLAMA_SAYS, "2 + 2 = 4\n\n#### 4", *_LLAMA_USER, QUESTION, *_LLAMA_SAYS,
        ),
    },
    "qwen2_5": {
        "plain": (*_SYSTEM, _QWEN, *_END, *_USER, QUESTION, *_END, *_SAYS),
        "system": (*_SYSTEM, BRIEF, *_END, *_USER, QUESTION, *_END, *_SAYS),
        "shots": (
            *_SYSTEM, BRIEF, *_END, *_USER, "2 + 2?", *_END, *_SAYS, "2 + 2 = 4\n\n#### 4\n", *_END, *_USER, QUESTION, *_END,
            *_SAYS,
        ),
    },
    "qwen3": {
        "plain": (*_USER, QUESTION, *_END, *_SAYS),
        "system": (*_SYSTEM, BRIEF, *_END, *_USER, QUESTION, *_END, *_SAYS),
        "shots": (
            *_SYSTEM, BRIEF, *_END, *_USER, "2 + 2?", *_END, *_SAYS, "2 + 2 = 4\n\n#### 4\n", *_END, *_USER, QUESTION, *_END,
            *_SAYS,
        ),
    },
    "smollm2": {
        "plain": (*_SYSTEM, _SMOL, *_END, *_USER, QUESTION, *_END, *_SAYS),
        "system": (*_SYSTEM, BRIEF, *_END, *_USER, QUESTION, *_END, *_SAYS),
        "shots": (
            *_SYSTEM, BRIEF, *_END, *_USER, "2 + 2?", *_END, *_SAYS, "2 + 2 = 4\n\n#### 4\n", *_END, *_USER, QUESTION, *_END,
            *_SAYS,
        ),
    },
    "gemma_2": {
        "plain": ("<bos>", *_ASKS, QUESTION, *_OVER, *_ANSWERS),
        "system": ("<bos>", *_ASKS, f"{BRIEF}\n\n{QUESTION}", *_OVER, *_ANSWERS),
        "shots": (
            "<bos>", *_ASKS, f"{BRIEF}\n\n2 + 2?", *_OVER, *_ANSWERS, "2 + 2 = 4\n\n#### 4", *_OVER, *_ASKS, QUESTION, *_OVER,
            *_ANSWERS,
        ),
    },
    "r1_distill": {
        "plain": ("<｜begin▁of▁sentence｜>", "<｜User｜>", QUESTION, "<｜Assistant｜>", "<think>", "\n"),
        "system": ("<｜begin▁of▁sentence｜>", BRIEF, "<｜User｜>", QUESTION, "<｜Assistant｜>", "<think>", "\n"),
        "shots": (
            "<｜begin▁of▁sentence｜>", BRIEF, "<｜User｜>", "2 + 2?", "<｜Assistant｜>", "2 + 2 = 4\n\n#### 4\n",
            "<｜end▁of▁sentence｜>", "<｜User｜>", QUESTION, "<｜Assistant｜>", "<think>", "\n",
        ),
    },
}  # fmt: skip
"""Whole prompts by family: the question alone, with a system turn, and with an example before it too. A piece that is a token
stands alone."""

# What its template does with a system turn is what is done for a template that knows none.
PROMPTS["gemma_3"] = PROMPTS["gemma_2"]
