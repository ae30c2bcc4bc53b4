"""For how long sequences vLLM is started: told from the prompts that are still to be asked, few of them encoded."""

from __future__ import annotations

import json
import shutil
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from actors.errors import UserError
from orchestration.allocation.first_come import FirstCome
from orchestration.api import settings_of
from orchestration.problems import PromptFormat
from orchestration.runs.identity import identify
from orchestration.runs.prompts import Longest, Prompts
from orchestration.runs.run_plan import run_plan
from orchestration.runs.session import opened, survey
from orchestration.setup.contexts import LEAST
from orchestration.setup.prepare import Prepared, prepare


class Counted(Prompts):
    """How often it made a prompt."""

    made = 0

    def ids(self, question: str) -> tuple[int, ...]:
        self.made += 1
        return super().ids(question)


def test_only_questions_that_may_be_the_longest_are_encoded(models: tuple[Path, Path]) -> None:
    prompts = Counted(PromptFormat(template="Question: {question}\nAnswer:"), models[0], "2026-01-01")
    longest = Longest(prompts)
    for number in range(100):
        longest.see(f"{number} + 1 = ?")
    assert (longest.tokens, prompts.made) == (LEAST, 1)
    long = "1 + " * 300 + "1 = ?"
    longest.see(long)
    assert longest.tokens == len(prompts.ids(long)) > LEAST
    made = prompts.made
    longest.see("1 + " * 100 + "1 = ?")
    assert prompts.made == made, "it has fewer bytes than the longest has tokens"
    # Of letters that the tokenizer does not know each byte is a token.
    longest.see("ß" * 1000)
    assert longest.tokens == len(prompts.ids("ß" * 1000))


@pytest.fixture
def long_context(models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of a policy of 100,000 tokens on vLLM, and of three problems, of which the second is long."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: ModuleSpec(name, None))
    folder = shutil.copytree(models[0], tmp_path / "policy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 100_000}))
    questions = ["1 + 2 = ?", "1 + " * 400 + "1 = ?", "3 + 4 = ?"]
    rows = [json.dumps({"question": one, "answer": "3"}) for one in questions]
    (tmp_path / "problems.jsonl").write_text("\n".join(rows))
    table = ["dataset=table", f"dataset.path={tmp_path / 'problems.jsonl'}", "strategies=[greedy,beam(n=4)]"]
    return [
        *table,
        f"policy.path={folder}",
        f"verifier.path={models[1]}",
        "policy.engine=vllm",
        "policy.max_tokens=40",
        f"folder={tmp_path / 'run'}",
    ]


def contexts(prepared: Prepared) -> list[int | None]:
    session = survey(prepared, opened(prepared))
    plan = run_plan(prepared, identify(prepared), FirstCome(prepared.first_grant), session.longest)
    return [plan.models["policy"].context, plan.models["verifier"].context]


def test_vllm_is_started_for_the_longest_prompt_and_a_solution(long_context: list[str]) -> None:
    prepared = prepare(settings_of(long_context))
    policy, verifier = contexts(prepared)
    longest = prepared.longest_prompt
    assert longest > LEAST
    assert policy is not None
    assert longest + 40 <= policy < longest + 40 + 64
    assert verifier == 256, "a model's own is the most"


def test_memory_for_the_longest_is_asked_for_before_anything_starts(
    long_context: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: it stands behind the first problems, which `prepare` looks at."""
    monkeypatch.setattr("orchestration.setup.prepare.prompt_lengths", lambda *_: [10, 12])
    prepared = prepare(settings_of(long_context))
    assert prepared.memory["policy"].context < 640
    assert survey(prepared, opened(prepared)).memory["policy"].context > 800
    monkeypatch.setattr("actors.engines.plan.CPU_CACHE_BYTES", 400 << 10)
    with pytest.raises(UserError, match=r"^cluster.policy.memory = None: .* and vLLM has 410 kB for them"):
        survey(prepared, opened(prepared))


def test_a_context_that_is_set_is_taken_and_counts_for_prompts(long_context: list[str]) -> None:
    prepared = prepare(settings_of([*long_context, "policy.context=128"]))
    assert contexts(prepared) == [128, 128]
    assert prepared.longest_prompt < 128, "of those that are asked"
    assert prepared.contexts.policy_refuses(500)
    # It decides no draw: the same folder goes on with another.
    other = prepare(settings_of([*long_context, "policy.context=4096"]))
    assert identify(other) == identify(prepared)


def test_the_local_engine_is_told_nothing_and_no_prompt_is_made(long_context: list[str]) -> None:
    words = [word for word in long_context if word != "policy.engine=vllm"]
    prepared = prepare(settings_of([*words, "policy.engine=local"]))
    assert survey(prepared, opened(prepared)).longest is None
    assert contexts(prepared) == [None, None]
