"""A tiny checkpoint of a judge that writes about each step, and what its authors' code makes of a solution.

The reference is written after the authors' scripts with transformers' own classes, a pass of the whole text for each token:
nothing of it is shared with the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from actors.engines.whole import quiet
from tests.support.public_verifiers import byte_level, save, sizes

WORDS = [
    *[("Y", "e"), ("Ye", "s"), ("N", "o"), ("<", "/"), (">", "Ċ")],
    *[("a", "n"), ("an", "a"), ("ana", "l"), ("anal", "y"), ("analy", "z"), ("analyz", "e")],
]
"""Merges that make one token of "Yes", "No", "</", "analyze" and ">\\n", as in Qwen's tokenizer."""

CONTEXT = 2048


def save_genprm(folder: Path) -> Path:
    tokenizer = byte_level("r1", bos=True, more=WORDS)
    config = Qwen2Config(**sizes(tokenizer) | {"max_position_embeddings": CONTEXT})
    save(folder, config, tokenizer, {}, "Qwen2ForCausalLM", vocabulary=True)
    weights = load_file(folder / "model.safetensors")
    # Far apart, so that what hardly changes a state changes a score.
    weights["lm_head.weight"][[tokenizer.encode(word)[-1] for word in ("Yes", "No")]] *= 6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@dataclass(frozen=True, slots=True)
class Judged:
    """A step's chance of Yes, and the tokens that stand before its verdict."""

    score: float
    drawn: list[int]


@torch.inference_mode()
def genprm_script(folder: Path, question: str, steps: Sequence[str], most: int) -> list[Judged]:
    """RyanLiu112/GenPRM, prm_evaluation/prm_evaluate.py and genprm_inference.py with --analyze alone, one greedy chain of up
    to `most` tokens a step. (What was drawn is not tokenised again, as vLLM does it there; the bracket is not left to the
    model.)"""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def last_logits(ids: list[int]) -> torch.Tensor:
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0, -1]
        return logits

    def encoded(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    def spelt(text: str) -> list[int]:
        """A prompt in which what was drawn stands as itself."""
        ids: list[int] = []
        for number, part in enumerate(text.split("\ue010")):
            ids += ([*drawn_before[number - 1]] if number else []) + encoded(part)
        return ids

    output_start = "<output>\n**Judgement**: $\\boxed"
    yes_token, no_token = tokenizer.encode("Yes")[-1], tokenizer.encode("No")[-1]
    conversation = [
        {
            "role": "system",
            "content": "You are a math teacher. Your task is to review and critique the paragraphs in solution step by step.",
        }
    ]
    judged: list[Judged] = []
    drawn_before: list[list[int]] = []
    for cur_step, step in enumerate(steps, 1):
        said = f"Question: {question}\n\n{step.strip()}" if cur_step == 1 else step.strip()
        conversation.append({"role": "user", "content": said})
        prompt = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=False)
        analyze_start = f"<analyze>\nLet's analyze the Paragraph {cur_step} step by step: "
        ids = spelt(prompt.removesuffix(tokenizer.eos_token) + analyze_start)
        drawn: list[int] = []
        while len(drawn) < most:
            drawn.append(int(last_logits(ids + drawn).argmax()))
            text = tokenizer.decode(drawn, skip_special_tokens=False)
            if drawn[-1] == tokenizer.eos_token_id:
                drawn.pop()
                break
            if "</analyze>\n" in text:
                while len(tokenizer.decode(drawn, skip_special_tokens=False)) > text.index("</analyze>\n"):
                    drawn.pop()
                break
        asked = drawn + encoded(f"</analyze>\n{output_start}{{")
        chances = last_logits(ids + asked)[[yes_token, no_token]].softmax(dim=-1)
        judged.append(Judged(float(chances[0]), drawn))
        word = yes_token if chances[0] >= chances[1] else no_token
        drawn_before.append([*asked, word])
        conversation.append({"role": "assistant", "content": f"{analyze_start}\ue010}}$\n</output>\n"})
    return judged
