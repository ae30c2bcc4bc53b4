"""A tiny checkpoint of a judge that writes, what its authors' code makes of a solution, and one that writes by heart.

The reference is written after the authors' script with transformers' own classes, a pass of the whole text for each token:
nothing of it is shared with the engine.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from actors.engines.whole import quiet
from actors.work import Unit
from tests.support.public_verifiers import byte_level, save, sizes
from tests.support.table import Table

WORDS = [("Ġ", "y"), ("e", "s"), ("Ġy", "es"), ("Ġ", "n"), ("Ġn", "o")]
"""Merges that make one token of " yes" and of " no", as in Qwen's tokenizer."""


def save_thinkprm(folder: Path) -> Path:
    tokenizer = byte_level("chatml", bos=False, more=WORDS, added=["<think>", "</think>"])
    config = Qwen2Config(**sizes(tokenizer) | {"max_position_embeddings": 1024})
    save(folder, config, tokenizer, {}, "Qwen2ForCausalLM", vocabulary=True)
    weights = load_file(folder / "model.safetensors")
    # Far apart, so that what hardly changes a state changes a score.
    weights["lm_head.weight"][tokenizer.encode(" yes no")] *= 6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@torch.inference_mode()
def thinkprm_script(folder: Path, question: str, steps: Sequence[str], most: int) -> tuple[float, list[int]]:
    """mukhal/ThinkPRM, prm/thinkprm_api.py with one greedy chain of up to `most` tokens: the chance of yes, and the tokens
    that stand before the verdict. (What was drawn is not tokenised again, as sglang does it.)"""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    solution = "\n".join(
        f"Step {i + 1}: " + re.sub(r"Step \d+:", "", step).strip() for i, step in enumerate(steps)
    )
    template = """You are given a math problem and a proposed step-by-step solution:

[Math Problem]

{problem}

[Solution]

{solution}

Review and critique each step in the proposed solution to determine whether each step is correct. If the solution is incomplete, only verify the provided steps."""  # noqa: E501
    asked = [
        {
            "role": "user",
            "content": template.replace("{problem}", question).replace("{solution}", solution),
        }
    ]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.encode(prompt + "\nLet's verify step by step:")
    stop = ["Is the solution correct?", tokenizer.eos_token, "</think>", f"Step {len(steps) + 1}:"]
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def last_logits(ids: list[int]) -> torch.Tensor:
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0, -1]
        return logits

    drawn: list[int] = []
    while len(drawn) < most:
        drawn.append(int(last_logits(ids + drawn).argmax()))
        text = tokenizer.decode(drawn, skip_special_tokens=False)
        if found := [text.index(one) for one in stop if one in text]:
            while len(tokenizer.decode(drawn, skip_special_tokens=False)) > min(found):
                drawn.pop()
            break
    verdicts = [tokenizer.encode(f"\nIs the solution correct? {label}") for label in ("yes", "no")]
    assert verdicts[0][:-1] == verdicts[1][:-1]
    logits = last_logits(ids + drawn + verdicts[0][:-1])[[one[-1] for one in verdicts]]
    return float(logits.softmax(dim=-1)[0]), drawn


def write_by_heart(folder: Path, text: str, verdict: str, *, begin: str = ":", asked: str = "?") -> Path:
    """Have a saved judge write this text behind the token that its prompt ends with (`begin`), whatever it reads, and say its
    verdict behind the one that asks for it. No token may stand in it twice, but `begin` at its end."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    for name, one in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            # What a token leads to hangs on it alone.
            one.zero_()
    embeddings = torch.nn.functional.normalize(torch.randn(weights["model.embed_tokens.weight"].shape), dim=1)
    head = weights["lm_head.weight"].zero_()
    chain = [*tokenizer.encode(begin), *tokenizer.encode(text)]
    for before, after in itertools.pairwise(chain):
        head[after] += 4 * embeddings[before]
    head[tokenizer.encode(verdict)[-1]] += 4 * embeddings[tokenizer.encode(asked)[-1]]
    save_file(weights | {"model.embed_tokens.weight": embeddings}, file, {"format": "pt"})
    return folder


def check_books(one: Table, unit: Unit) -> None:
    """Whether all that a judge wrote, and read for it, is on the books at its price."""
    cost, spent = one.costs["verifier"], one.spent()
    own = exact = paper = 0
    for request, scores in one.scorer.pairs:
        assert request.writing is not None
        read, then = len(request.token_ids), len(request.writing.then)
        paper += read - request.prompt_length
        for chain in scores.written:
            own += chain.prefilled + chain.drawn + chain.again + 1
            paper += chain.drawn + then
            exact += cost.exact(read - 1 - chain.prefilled, chain.prefilled, 0)
            exact += cost.exact(read - 1, chain.drawn, chain.drawn)
            behind = read + chain.kept + then
            exact += cost.exact(behind - 1 - chain.again, chain.again + 1, 1)
    # The engine's own count of what it computed.
    assert own == one.scorer.engine.counters().tokens_computed
    verifier = sum(entry.flops for entry in one.purse.entries if entry.purpose == "verifier")
    assert verifier == (exact if unit == "exact" else cost.paper(paper))
    assert spent.tokens["verifier"] == paper
    assert one.purse.reserved == 0
