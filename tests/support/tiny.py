"""A policy and a verifier small enough to answer in milliseconds, with a real tokenizer, and tasks for them.

Of 97 tokens, 18 end a line and 4 a solution, so that a random model writes solutions of a few short steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, set_seed

from actors.engines.plan import ModelPlan, ReplicaShare
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.verifiers.families.known import family_of, head_weights
from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from actors.replicas.bench import Bench
from actors.replicas.reader import ReaderPlan
from actors.strategy import Models, Prompt, Role, Solution, Strategy
from actors.work import Task
from orchestration.allocation.first_come import FirstCome
from orchestration.flops import ModelCost
from orchestration.problems.revising import Revising

MAX_TOKENS = 24
NEWLINE, TWO_NEWLINES, SPACE, EQUALS_AND_TWO_NEWLINES = 13, 14, 15, 31
EOS_IDS = (1, 94, 95, 96)
VOCABULARY = (
    ["<bos>", "<eos>", "<pad>"]
    + [str(digit) for digit in range(10)]
    + ["\n", "\n\n", " ", "\t"]
    + [f"{letter}\n" for letter in "abcdefghijklmn"]
    + ["=\n\n", "\n "]
    + [f" w{number}" for number in range(33, 94)]
    + ["<end-a>", "<end-b>", "<end-c>"]
)


FRAMING = Revising(lead=1, again=1, after=EOS_IDS[:1], ends=frozenset(EOS_IDS))
"""What `RevisionFormat` gives for this tokenizer: attempts stand behind the first token of a prompt, before the rest."""


@dataclass(frozen=True, slots=True)
class LastDigit:
    """Grades by the last digit of a text."""

    def extract(self, text: str) -> str | None:
        return next((letter for letter in reversed(text) if letter in "0123456789"), None)

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer == reference


def save_tokenizer(folder: Path, vocabulary: Sequence[str] = VOCABULARY) -> None:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<pad>"))
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(folder)


def save_policy(folder: Path, seed: int = 7, *, heads: int = 4) -> Path:
    """Write a policy, its 32 hidden units shared among `heads`; vLLM has kernels for no head narrower than that."""
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=list(EOS_IDS),
        pad_token_id=2,
        tie_word_embeddings=False,
    )
    set_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            # At their usual size, random weights give logits so flat that greedy choice is a tie.
            parameter.data.mul_(3.0)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_verifier(folder: Path, seed: int = 8) -> Path:
    save_policy(folder, seed)
    torch.manual_seed(seed)
    ValueHead(ValueHeadConfig(32, width=8, prompt=True)).save(folder)
    return folder


def make_bench(
    policy: Path,
    verifier: Path | None,
    *,
    reviser: Path | None = None,
    max_tokens: int = MAX_TOKENS,
    family: ChosenFamily | None = None,
) -> Bench:
    given: dict[Role, Path | None] = {"policy": policy, "reviser": reviser, "verifier": verifier}
    folders = {role: folder for role, folder in given.items() if folder is not None}
    costs = {role: ModelCost.from_folder(folder) for role, folder in folders.items()}
    if family is not None:
        costs["verifier"] = ModelCost.from_folder(
            family.path, head_weights(family.path, family_of(family.name))
        )
    return Bench(
        reader=ReaderPlan(policy, "\n", LastDigit()),
        costs=costs,
        family=family,
        unit="paper",
        max_tokens=max_tokens,
        framing=FRAMING if reviser is not None else None,
    )


def make_plan(folder: Path, *, replicas: int = 1, cpus: float = 0.4, max_sequences: int = 16) -> ModelPlan:
    share = ReplicaShare(replicas=replicas, cpus=cpus, max_sequences=max_sequences, device="cpu")
    return ModelPlan(folder, share)


def make_task(number: int, strategies: tuple[Strategy, ...], seed: int = 0) -> Task:
    """Problem `number`; its outcomes have the keys `p<number>/<strategy>`."""
    prompt = Prompt(f"p{number}", (0, *(3 + int(digit) for digit in f"{number:03d}"), NEWLINE))
    keys = tuple(f"{prompt.id}/{strategy.text}" for strategy in strategies)
    return Task(f"task-{number}", prompt, strategies, keys, seed)


def first_come(bench: Bench, budget: int | None) -> FirstCome:
    """Under a budget: a task starts where one whole candidate can be paid, scored as well."""
    return FirstCome(None if budget is None else candidate_cost(bench))


def candidate_cost(bench: Bench) -> int:
    """Worst case in FLOPs (paper) of one whole candidate, scored if there is a verifier."""
    return sum(cost.paper(bench.max_tokens) for cost in bench.costs.values())


@dataclass(frozen=True, slots=True)
class Gated:
    """The inner strategy, which waits at some problems until a file is there: so a test knows what is in hand."""

    inner: Strategy
    gate: Path
    problems: frozenset[str]

    @property
    def text(self) -> str:
        return self.inner.text

    @property
    def uses_verifier(self) -> bool:
        return self.inner.uses_verifier

    @property
    def sequences(self) -> int:
        return self.inner.sequences

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        while prompt.id in self.problems and not self.gate.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return await self.inner.solve(prompt, models)
