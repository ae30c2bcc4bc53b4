"""`flopwise train policy FOLDER` and `flopwise train prm FOLDER`: thin drivers of `orchestration.training`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.engines.identity import tokenizer_hash
from actors.errors import UserError, nearest
from orchestration.commands.compose import compose
from orchestration.commands.helptext import help_of
from orchestration.commands.main import options_of

if TYPE_CHECKING:
    from orchestration.runs import Run

MODELS = ("policy", "prm")


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, rest = options_of(words, ("--help",))
    places = [word for word in rest if "=" not in word]
    if not places or places[0] not in MODELS:
        wrong = repr(places[0]) + nearest(places[0], MODELS) if places else "nothing"
        raise UserError(f"train takes policy or prm, not {wrong}")
    if "--help" in options:
        print(help_of(f"train/{places[0]}"))
        return 0
    if len(places) != 2:
        raise UserError(f"name one folder for the model, as in: flopwise train {places[0]} runs/{places[0]}")
    settings = [word for word in rest if "=" in word]
    train = _policy if places[0] == "policy" else _prm
    result = train(Path(places[1]), settings)
    for name, value in result.items():
        print(f"{name:24} {value:.4g}" if isinstance(value, float) else f"{name:24} {value}")
    print(f"{'model':24} {places[1]}")
    return 0


def _policy(folder: Path, words: Sequence[str]) -> dict[str, Any]:
    from orchestration.training.policy import PolicyTraining, train_policy

    return dict(train_policy(compose("train/policy", words, PolicyTraining), folder))


def _prm(folder: Path, words: Sequence[str]) -> dict[str, Any]:
    from orchestration.prepare import model_folder
    from orchestration.runs import Run
    from orchestration.training.prm import PrmTraining, train_prm

    @dataclass(frozen=True)
    class Command(PrmTraining):
        """The training's own settings, and where its data and its start come from."""

        runs: list[str] = field(default_factory=list)
        policy: str = "bundled"

    command = compose("train/prm", words, Command)
    training = PrmTraining(**{one.name: getattr(command, one.name) for one in fields(PrmTraining)})
    base = model_folder(command.policy, "policy")
    runs = [Run(path) for path in command.runs]
    prompts = {problem: ids for one in runs for problem, ids in _prompts(one, base)}
    return dict(train_prm(training, base, [one.candidates() for one in runs], prompts, folder))


def _prompts(run: Run, policy: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each problem's prompt as the run's policy read it, in ids."""
    from transformers import AutoTokenizer

    from orchestration.problems import PromptFormat

    if run.info["identity"]["tokenizer"] != tokenizer_hash(policy):
        raise UserError.of("policy", str(policy), f"its tokenizer is not that of the policy of {run.folder}")
    prompt = PromptFormat(**run.config["policy"]["prompt"])
    tokenizer = AutoTokenizer.from_pretrained(policy, local_files_only=True, trust_remote_code=False)
    for row in run.problems().select(["problem_id", "question"]).to_pylist():
        yield row["problem_id"], tuple(prompt.prompt_ids(tokenizer, row["question"]))
