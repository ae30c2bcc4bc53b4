"""What Python callers get without asking: the settings that a folder calls for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.errors import UserError
from orchestration import api
from orchestration.problems.revising import RevisionFormat
from orchestration.setup.prepare import Prepared, prepare
from orchestration.setup.settings import EvaluateSettings

TEMPLATE = "{{ messages[-1].content }}"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[EvaluateSettings]:
    """The settings of each evaluation that was begun; none is run."""
    begun: list[EvaluateSettings] = []

    def started(prepared: Prepared, **_: object) -> None:
        begun.append(prepared.settings)

    monkeypatch.setattr(api, "evaluate_prepared", started)
    return begun


@pytest.fixture
def chat(models: tuple[Path, Path], tmp_path: Path) -> Path:
    """A policy with a chat template in its tokenizer's config."""
    folder = shutil.copytree(models[0], tmp_path / "chat")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TEMPLATE}))
    return folder


SMALL = ("policy.max_tokens=40", "policy.typical_tokens=30", "verifier=none")


def test_a_policy_with_a_chat_template_is_asked_with_it(settings: list[EvaluateSettings], chat: Path) -> None:
    api.evaluate("greedy", folder=chat.parent / "run", policy=chat, settings=SMALL)
    (found,) = settings
    assert (found.policy.prompt.chat, found.policy.delimiter) == (True, "\n\n")
    assert found.policy.path == str(chat)


def test_a_template_in_a_file_of_its_own_counts_too(
    settings: list[EvaluateSettings], models: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(models[0], tmp_path / "other")
    api.evaluate("greedy", folder=tmp_path / "run", policy=folder, settings=SMALL)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    api.evaluate("greedy", folder=tmp_path / "run", policy=str(folder), settings=SMALL)
    assert [one.policy.prompt.chat for one in settings] == [False, True]


def test_a_reviser_is_shown_its_attempts_as_it_was_trained_or_in_a_chat(
    settings: list[EvaluateSettings], chat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "prepare", lambda given: SimpleNamespace(settings=given))
    revising: dict[str, Any] = {"policy": chat, "folder": chat.parent / "run"}
    trained = shutil.copytree(chat, chat.parent / "trained")
    RevisionFormat(turn="Again.").write(trained)
    for reviser in (chat, str(trained), "none"):
        api.evaluate("revision(sequential=2,parallel=1)", reviser=reviser, **revising)
    untrained, known, none = (one.reviser for one in settings)
    assert (untrained.path, known.path, none.path) == (str(chat), str(trained), None)
    assert untrained.turn is not None
    assert known.turn is None
    with pytest.raises(UserError, match="reviser = 3: give an option's name"):
        api.evaluate("greedy", reviser=3, **revising)  # type: ignore[arg-type]


def test_a_caller_may_choose_plain_text(settings: list[EvaluateSettings], chat: Path) -> None:
    more = [*SMALL, "policy=base"]
    api.evaluate("greedy", folder=chat.parent / "run", policy=chat, settings=more)
    (found,) = settings
    assert (found.policy.prompt.chat, found.policy.path) == (False, str(chat))


def test_a_folder_that_is_not_there_is_named(settings: list[EvaluateSettings], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"policy.path = .*there is no model's folder"):
        api.evaluate("greedy", folder=tmp_path / "run", policy=tmp_path / "missing")
    assert settings == []


@pytest.mark.parametrize("option", ["base", "arithmetic"])
def test_plain_prompts_to_a_chat_model_are_told(option: str, chat: Path) -> None:
    words = [f"policy={option}", f"policy.path={chat}", "strategies=[greedy]", *SMALL]
    (note,) = prepare(api.settings_of(words)).notes
    assert note == (
        "policy.prompt.chat is false, and the policy's tokenizer has a chat template: a model that was tuned with it "
        "answers badly without; policy=chat uses it"
    )
    assert prepare(api.settings_of([*words, "policy=chat"])).notes == ()


def test_positions_that_go_by_length_bound_the_local_engines_context(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(models[0], tmp_path / "long")
    config = json.loads((folder / "config.json").read_text())
    scaling = {"rope_type": "longrope", "original_max_position_embeddings": 96}
    (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": scaling}))
    prepared = prepare(api.settings_of([f"policy.path={folder}", "strategies=[greedy]", *SMALL]))
    assert prepared.policy.context == 96
    assert prepared.notes == (
        "the policy's positions depend on a text's length beyond 96 tokens (its RoPE scaling): the local engine takes that "
        "as its context, of 256; vLLM takes all",
    )


@pytest.mark.parametrize("method", ["fp8", "bitsandbytes", "gptq", "awq", "compressed-tensors"])
def test_quantised_weights_are_refused_where_the_local_engine_runs_them(
    method: str, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(models[0], tmp_path / "small")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": method}})
    )
    words = [f"policy.path={folder}", "strategies=[greedy]", *SMALL]
    with pytest.raises(UserError, match=r"policy\.path = .*quantised \(.*set policy\.engine=vllm"):
        prepare(api.settings_of(words))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert prepare(api.settings_of([*words, "policy.engine=vllm"])).policy.engine == "vllm"
