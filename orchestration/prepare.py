"""From settings to what they name: strategies, problems, models' costs, the budget in FLOPs; all of it
checked.

It reads configs, tokenizers and a few problems, and knows nothing of Ray or torch. Invariant: no weight is
loaded and nothing is written here, so a dry run and a real one are prepared by the same code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.errors import UserError
from actors.work import Strategy
from orchestration.flops import ModelCost, Unit, flops_of_generations, flops_of_tokens
from orchestration.problems import (
    Dataset,
    Generated,
    Grader,
    GymSource,
    PromptFormat,
    load,
    make_grader,
)
from orchestration.settings import EvaluateSettings, check
from orchestration.strategies.parse import parse

BUNDLED = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True, slots=True)
class Prepared:
    """Settings turned into what they name. `verifier` is None where no strategy asks one; `prompt_tokens` and
    `longest_prompt` are told from the first problems; `budget` is in FLOPs of `unit`, None without one."""

    settings: EvaluateSettings
    strategies: tuple[Strategy, ...]
    dataset: Dataset
    grader: Grader
    prompt: PromptFormat
    policy: Path
    verifier: Path | None
    policy_cost: ModelCost
    verifier_cost: ModelCost | None
    unit: Unit
    prompt_tokens: int
    longest_prompt: int
    budget: int | None

    def described(self, problems: int) -> str:
        """What is solved, for people."""
        text = self.dataset.description
        return text if isinstance(self.dataset, Generated) else f"{problems:,} problems of {text}"


def model_folder(path: str, kind: str) -> Path:
    """The folder of a model; "bundled" is the one that comes with flopwise. UserError where there is none."""
    if path == "bundled":
        folder = BUNDLED / ("policy" if kind == "policy" else "prm")
        mend = f"there is none at {folder}; make it with flopwise train {folder.name} {folder}"
    else:
        folder = Path(path).expanduser().resolve()
        mend = "there is no model's folder (with a config.json)"
    if not (folder / "config.json").is_file():
        raise UserError.of(f"{kind}.path", path, mend)
    return folder


def prepare(settings: EvaluateSettings) -> Prepared:
    """Check all settings against what is there. Reads configs, tokenizer and a few problems; takes about a
    second.
    """
    check(settings)
    strategies = tuple(dict.fromkeys(parse(text) for text in settings.strategies))
    data = settings.dataset
    dataset = load(
        data.name,
        path=data.path,
        split=data.split,
        count=data.count,
        seed=data.seed,
        columns=asdict(data.columns),
        options=data.options,
    )
    ours = isinstance(dataset, Generated) and isinstance(dataset.source, GymSource)
    if data.grader == "gym" and not ours:
        mend = "it judges reasoning-gym's data sets by their names (dataset=gym); choose number, text or math"
        raise UserError.of("dataset.grader", data.grader, mend)
    prompt = PromptFormat(
        settings.policy.prompt.template, settings.policy.prompt.chat, settings.policy.prompt.system
    )
    policy = model_folder(settings.policy.path, "policy")
    policy_cost = ModelCost.from_folder(policy)
    needing = [strategy.text for strategy in strategies if strategy.uses_verifier]
    verifier, verifier_cost = None, None
    if settings.verifier.path is None and needing:
        mend = f"{', '.join(needing)} need one: set verifier.path, or leave them out of strategies"
        raise UserError.of("verifier.path", None, mend)
    if settings.verifier.path is not None and needing:
        verifier = model_folder(settings.verifier.path, "verifier")
        verifier_cost = ModelCost.from_folder(verifier)
        if _vocabulary(policy) != _vocabulary(verifier):
            mend = "its tokenizer is not the policy's; a verifier reads the policy's own token ids"
            raise UserError.of("verifier.path", settings.verifier.path, mend)
    unit: Unit = "paper" if settings.budget.unit == "paper" else "exact"
    mean, longest = _prompt_lengths(dataset, policy, prompt)
    for kind, folder in (("policy", policy), ("verifier", verifier)):
        if folder is not None:
            _check_context(kind, folder, longest, settings.policy.max_tokens)
    return Prepared(
        settings=settings,
        strategies=strategies,
        dataset=dataset,
        grader=make_grader(data.grader),
        prompt=prompt,
        policy=policy,
        verifier=verifier,
        policy_cost=policy_cost,
        verifier_cost=verifier_cost,
        unit=unit,
        prompt_tokens=mean,
        longest_prompt=longest,
        budget=_budget(settings, policy_cost, verifier_cost, mean, unit),
    )


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        mend = "no tokenizer.json there; save the model with its fast tokenizer"
        raise UserError.of("model.path", str(folder), mend)
    return Tokenizer.from_file(str(file))


def _vocabulary(folder: Path) -> dict[str, int]:
    """Every token and its id: the same ids mean the same text, however the files were written."""
    vocabulary: dict[str, int] = _tokenizer(folder).get_vocab(with_added_tokens=True)
    return vocabulary


def _check_context(kind: str, folder: Path, prompt: int, most: int) -> None:
    """Raise UserError where the longest prompt and a solution of `most` tokens exceed a model's context: every problem
    would be quarantined."""
    config = json.loads((folder / "config.json").read_text())
    context = config.get("text_config", config).get("max_position_embeddings")
    if context is not None and prompt + most > context:
        mend = (
            f"with a prompt of {prompt} tokens that exceeds the {kind}'s context of {context}; set policy.max_tokens to at "
            f"most {max(0, context - prompt)}, or choose another {kind}"
        )
        raise UserError.of("policy.max_tokens", most, mend)


def _prompt_lengths(dataset: Dataset, policy: Path, prompt: PromptFormat, most: int = 100) -> tuple[int, int]:
    """Mean and largest length of the first prompts in tokens, without the few tokens of a chat template's
    own.
    """
    tokenizer = _tokenizer(policy)
    lengths = []
    for problem, _ in zip(dataset, range(most), strict=False):
        text = (prompt.system or "") + prompt.template.replace("{question}", problem.question)
        lengths.append(1 + len(tokenizer.encode(text, add_special_tokens=False).ids))
    if not lengths:
        raise UserError.of("dataset", dataset.description, "it has no problem")
    return round(sum(lengths) / len(lengths)), max(lengths)


def _budget(
    settings: EvaluateSettings, policy: ModelCost, verifier: ModelCost | None, prompt: int, unit: Unit
) -> int | None:
    """The budget in FLOPs of `unit`, whatever it was given in."""
    given, typical = settings.budget, settings.policy.typical_tokens
    if given.flops is not None:
        return int(given.flops)
    if given.tokens is not None:
        return flops_of_tokens(int(given.tokens), policy, verifier, prompt, typical, unit)
    if given.generations is not None:
        return flops_of_generations(int(given.generations), policy, verifier, prompt, typical, unit)
    return None
