"""Pairs: each that is ready composes and asks its model as the card says; a user's own is one yaml file and runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.errors import UserError
from orchestration.api import settings_of
from orchestration.commands.helptext import help_of
from orchestration.commands.main import main
from orchestration.planning.calibration import CalibrateSettings
from orchestration.runs.run import Run
from orchestration.setup.compose import compose
from orchestration.setup.pairs import above, pairs
from orchestration.setup.prepare import prepare
from orchestration.setup.settings import VerifierSettings, check
from orchestration.strategies.parse import parse
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.majority import Majority
from tests.support.chat_templates import FAMILIES, PROMPTS, QUESTION
from tests.support.documents import ROOT, blocks
from tests.support.here import without_ray
from tests.support.own_targets import Other
from tests.support.public_verifiers import PUBLIC

ASKED = f"{QUESTION}\nPlease reason step by step, and put your final answer within \\boxed{{}}."
THINKING = ("qwen3_thinking", "r1_distill")
# Of each pair: the family of its template, how the question is asked, its system turn, what stands behind the prompt.
READY: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "gemma_3": ("gemma_3", ASKED, "", ()),
    "llama_3_2": (
        "llama_3_2",
        QUESTION,
        "Solve the following math problem efficiently and clearly:\n\n- For simple problems (2 steps or fewer):\n"
        "Provide a concise solution with minimal explanation.\n\n- For complex problems (3 steps or more):\n"
        "Use this step-by-step format:\n\n## Step 1: [Concise description]\n[Brief explanation and calculations]\n\n"
        "## Step 2: [Concise description]\n[Brief explanation and calculations]\n\n...\n\n"
        "Regardless of the approach, always conclude with:\n\n"
        "Therefore, the final answer is: $\\boxed{answer}$. I hope it is correct.\n\n"
        "Where [answer] is just the final number or expression that solves the problem.",
        (),
    ),
    "qwen2_5": (
        "qwen2_5",
        QUESTION,
        "Please reason step by step, and put your final answer within \\boxed{}.",
        (),
    ),
    "qwen3": ("qwen3", ASKED, "", ("<think>", "\n\n", "</think>", "\n\n")),
    "qwen3_thinking": ("qwen3", ASKED, "", ()),
    "r1_distill": ("r1_distill", ASKED, "", ()),
    "smollm2": ("smollm2", ASKED, "", ()),
}


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    rows = [{"question": QUESTION, "answer": "2"}, {"question": "What is 2 + 3?", "answer": "5"}]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "problems.jsonl"


def test_all_that_are_ready_are_tested() -> None:
    assert sorted(READY) == pairs()


@pytest.mark.parametrize("name", READY)
def test_a_ready_pair_asks_as_its_card_says(name: str, tmp_path: Path, problems: Path) -> None:
    template, asked, system, behind = READY[name]
    family = FAMILIES[template]
    folder = family.save(tmp_path / "policy")
    words = [f"pair={name}", f"policy.path={folder}", "dataset=table", f"dataset.path={problems}"]
    settings = settings_of([*words, "verifier.path=elsewhere"])
    check(settings)
    assert settings.verifier.family is not None
    strategies = [parse(text) for text in settings.strategies]
    assert len({strategy.text for strategy in strategies}) == len(settings.strategies)
    if name in THINKING:
        assert settings.policy.delimiter is None
        assert all(isinstance(one, Majority | BestOfN) for one in strategies)
    # So long a solution has no room in so small a model.
    policy = replace(settings.policy, max_tokens=64)
    alone = replace(
        settings, policy=policy, verifier=VerifierSettings(path=None), strategies=["majority(n=4)"]
    )
    prepared = prepare(alone)
    ids = prepared.prompt.prompt_ids(family.tokenizer(), QUESTION)
    spelt = PROMPTS[template]["system" if system else "plain"]
    told = [{QUESTION: asked, "Be brief.": system}.get(one, one) for one in spelt]
    assert ids == family.ids(*told, *behind)
    assert prepared.prompt.note(family.tokenizer()) == ""


def mine(folder: Path, content: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(content)
    return file


def test_a_pair_of_ones_own_is_one_file_and_runs(tmp_path: Path, problems: Path) -> None:
    family = FAMILIES["qwen3"]
    file = mine(
        tmp_path,
        f"pair: qwen3  # and what is other here\n"
        f"policy.path: {family.save(tmp_path / 'policy')}\n"
        "policy.dtype: float32\npolicy.max_tokens: 24\n"
        f"verifier: trl_prm\nverifier.path: {PUBLIC['trl_prm'].save(tmp_path / 'prm')}\n"
        'verifier.separator: "\\n\\n"\nverifier.dtype: float32\n'
        f"dataset: table\ndataset.path: {problems}\n"
        f"folder: {tmp_path / 'run'}\n"
        'strategies: [greedy, majority(n=4), "best_of_n(n=4)", "beam(n=4,width=2)"]\n',
    )
    with without_ray():
        assert main(["evaluate", f"pair={file}", "report=table"]) == 0
    run = Run(tmp_path / "run")
    kept = run.outcomes().to_pylist()
    assert {row["strategy"] for row in kept} == {
        "greedy",
        "majority(n=4)",
        "best_of_n(n=4)",
        "beam(n=4,width=2)",
    }
    assert len(kept) == 8
    drawn = run.candidates(strategy="best_of_n(n=4)").to_pylist()
    assert len(drawn) == 8
    assert all(row["scores"] and all(0 <= one <= 1 for one in row["scores"]) for row in drawn)
    assert run.config["policy"]["prompt"]["chat_options"] == {"enable_thinking": False}
    assert run.config["verifier"]["separator"] == "\n\n"


def test_a_model_that_thinks_is_asked_for_whole_samples(tmp_path: Path, problems: Path) -> None:
    family = FAMILIES["r1_distill"]
    words = [
        "pair=r1_distill",
        f"policy.path={family.save(tmp_path / 'policy')}",
        f"verifier.path={PUBLIC['outcome'].save(tmp_path / 'rm')}",
        *(f"{role}.dtype=float32" for role in ("policy", "verifier")),
        *("policy.max_tokens=16", "dataset=table", f"dataset.path={problems}", "dataset.count=1"),
    ]
    with without_ray():
        assert main(["evaluate", *words, "report=table", f"folder={tmp_path / 'run'}"]) == 0
    run = Run(tmp_path / "run")
    assert len(run.outcomes()) == 5
    (best,) = (one for one in run.config["strategies"] if one.startswith("best_of_n(n=16"))
    drawn = run.candidates(strategy=best).to_pylist()
    # One step and one score each, whatever lines are in it; a sample that ended at once has none.
    found = [(len(row["steps"]), len(row["scores"])) for row in drawn]
    assert len(found) == 16
    assert set(found) - {(0, 0)} == {(1, 1)}


def test_the_pair_that_the_page_shows_is_one(tmp_path: Path) -> None:
    (shown,) = [one.text for one in blocks(ROOT / "docs" / "models.md") if one.text.startswith("# mine.yaml")]
    ours = settings_of([f"pair={mine(tmp_path, shown)}"])
    check(ours)
    assert (ours.policy.path, ours.verifier.family) == ("/models/Qwen2.5-1.5B-Instruct", "skywork_prm")
    assert "\\boxed{}" in str(ours.policy.prompt.system)
    assert [parse(text).text for text in ours.strategies][1].startswith("particle_filtering(n=16")


def settings(*words: str) -> Any:
    return settings_of(["dataset=math500", "policy.path=/models/mine", *words])


def test_what_is_said_stands_above_a_pair() -> None:
    ours = settings("verifier=skywork_prm", "verifier.path=/v", "pair=r1_distill", "policy.max_tokens=99")
    assert (ours.policy.max_tokens, ours.policy.delimiter) == (99, None)
    assert (ours.verifier.family, ours.verifier.path) == ("skywork_prm", "/v")
    assert settings("pair=qwen2_5", "verifier=none").verifier.path is None


def test_an_option_that_is_chosen_anew_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    said = {"verifier": "trl_prm", "verifier.path": "/v", "policy": "chat", "policy.max_tokens": 9}
    assert above(said, {"verifier": "none"}) == {
        "verifier": "none",
        "policy": "chat",
        "policy.max_tokens": 9,
    }
    # The same option again is no other one.
    assert above(said, {"verifier": "trl_prm", "verifier.path": "/w"}) == said | {"verifier.path": "/w"}
    file = mine(tmp_path, "policy: chat\nverifier: trl_prm\nverifier.path: /v\nverifier.separator: ':'\n")
    assert settings(f"pair={file}").verifier.separator == ":"
    assert settings(f"pair={file}", "verifier=none").verifier.path is None


def test_a_verifier_of_ones_own_class_stands_in_a_pair(tmp_path: Path) -> None:
    target = f"{Other.__module__}.{Other.__qualname__}"
    file = mine(
        tmp_path,
        f"policy: base\nverifier: custom\nverifier._target_: {target}\nverifier.weight: 1e-3\nverifier.parameters: 0\n",
    )
    verifier = settings(f"pair={file}").verifier
    assert (verifier._target_, verifier.parameters, verifier.options) == (target, 0, {"weight": 0.001})


def test_a_sweep_takes_a_pair_and_leaves_what_it_has_not(tmp_path: Path) -> None:
    file = mine(tmp_path, "pair: qwen2_5\nverifier.path: /v\nbudget.flops: 1e12\nreport.level: 0.9\n")
    sweep = compose("calibrate", [f"pair={file}", "dataset=math500", "policy.path=/m"], CalibrateSettings)
    assert (sweep.policy.path, sweep.verifier.path) == ("/m", "/v")
    assert sweep.strategies[-1] == "beam(n=16,width=4,temperature=0.7,top_p=0.8)"


def test_without_a_pair_nothing_is_one() -> None:
    with pytest.raises(UserError, match=r"^verifier.path must be given"):
        settings("pair=qwen2_5")
    with pytest.raises(UserError, match=r"^'pair' *: |^pair: no such setting"):
        compose("report", ["pair=qwen2_5"], CalibrateSettings)


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        (
            "policy: chat\npolicy.max_tokns: 9\n",
            [],
            r"^pair = .*: policy.max_tokns: no such setting \(did you mean",
        ),
        ("policy: chat\n", ["policy.max_tokns=9"], r"^policy.max_tokns: no such setting \(did you mean"),
        ("policy: chat\n", ["dataset.count=9"], r"^dataset must be given: add dataset=\.\.\., for the pair"),
    ],
)
def test_what_is_mistyped_is_told_before_the_data_set_that_is_lacking(
    text: str, words: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        settings_of([f"pair={mine(tmp_path, text)}", *words])


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    """Trap: YAML takes the last one without a word."""
    file = mine(tmp_path, "policy: chat\npolicy.path: /a\npolicy.path: /b\n")
    with pytest.raises(
        UserError, match=r"^pair = .*: the file cannot be read as YAML \(policy.path is given twice"
    ):
        settings(f"pair={file}")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    file = mine(tmp_path, "policy: chat\n")
    with pytest.raises(
        UserError, match=r"there is no such file \(did you mean 'mine.yaml'\?\): choose one of"
    ):
        settings(f"pair={file.with_suffix('.yml')}")
    with pytest.raises(
        UserError, match=r"^pair = 'my/pair.yaml': there is no such file: choose one of gemma_3"
    ):
        settings("pair=my/pair.yaml")
    with pytest.raises(UserError, match=r"^pair = 'qwen2': choose one of gemma_3"):
        settings("pair=qwen2")


def test_the_help_lists_them_and_shows_their_values() -> None:
    text = help_of("evaluate", ["pair=r1_distill"])
    assert all(f"pair={name} " in text for name in pairs())
    assert "policy.max_tokens=32768" in text
    assert "verifier.family=outcome" in text
    assert "majority(n=16,temperature=0.6,top_p=0.95)" in text
    assert "pair=" not in help_of("report")
