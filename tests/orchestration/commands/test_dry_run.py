"""What a dry run shows of what the models will read, and what it refuses as the run would."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from orchestration.api import settings_of
from orchestration.commands.main import main
from orchestration.setup.compose import CONF
from orchestration.setup.settings import flatten
from orchestration.setup.values import word_of
from tests.support.handmade import write_run
from tests.support.model_folders import Folder


def lines(words: list[str], capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    assert main(["evaluate", "--dry-run", *words, *more]) == 0
    return capsys.readouterr().out.splitlines()


def after(found: list[str], head: str) -> list[str]:
    """The indented lines below a heading."""
    start = next(place for place, line in enumerate(found) if line.startswith(head)) + 1
    return [line.strip() for line in found[start:] if line.startswith("  ")][: _count(found[start:])]


def _count(found: list[str]) -> int:
    return next((place for place, line in enumerate(found) if not line.startswith("  ")), len(found))


def test_the_prompt_and_a_solution_in_steps_are_shown(
    words: list[str], models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer

    found = lines(words, capsys, "policy.prompt.template=Q: {question}\nA: ", "strategies=[greedy]")
    text, ids = after(found, "The prompt of the first problem")
    shown = [int(one) for one in ids.split() if one != "..."]
    tokenizer = AutoTokenizer.from_pretrained(models[0])
    assert json.loads(text).endswith("?\nA:")
    begin = tokenizer.encode(json.loads(text), add_special_tokens=False)
    assert shown[:20] == begin[:20]
    assert shown[-20:] == begin[-20:]
    steps = [json.loads(step) for step in after(found, "The steps of a worked solution")]
    assert len(steps) > 2
    assert all(step.endswith("\n") for step in steps[:-1])
    assert steps[-1].startswith("#### ")


def test_a_table_without_solutions_has_a_made_up_one(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d.csv").write_text("question,answer\n1 + 2 = ?,3\n")
    kept = [word for word in words if not word.startswith("dataset")]
    more = ["dataset=table", f"dataset.path={tmp_path / 'd.csv'}", "strategies=[beam(n=2)]"]
    found = lines(kept, capsys, *more)
    steps = ["First step\n", "Second step\n", "#### 42"]
    assert [json.loads(step) for step in after(found, "The steps of a made-up solution")] == steps
    assert any("1 problem of " in line for line in found)
    shown = {line.partition("=")[0] for line in after(found, "Settings")}
    has = {f"dataset.{key}" for key in flatten(yaml.safe_load((CONF / "dataset" / "table.yaml").read_text()))}
    assert {"dataset.path", "dataset.columns.question", "dataset.count", "dataset.grader"} < has
    assert has == {key for key in shown if key.startswith("dataset.")}


def test_one_generation_is_one(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(words, capsys, "budget.tokens=40", "verifier=none", "strategies=[greedy]")
    (budget,) = [line for line in found if line.startswith("budget")]
    assert re.search(r": about 1 generation, or \d+ tokens", budget), budget


def test_the_settings_that_are_shown_make_the_same_again(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = [
        'policy.delimiter="\\n"',
        'policy.prompt.template=it\'s, "so" {question}',
        'report.pairs=["greedy vs majority(n=4)"]',
    ]
    own += ["strategies=[greedy,majority(n=4)]", "reuse=[]", "budget.flops=1e12"]
    given = settings_of([*words, *own])
    assert settings_of([word_of(key, value) for key, value in _words(given)]) == given
    found = after(lines(words, capsys, *own), "Settings")
    assert "policy.engine=auto  (here local)" in found
    assert 'policy.delimiter="\\n"' in found
    assert "budget.flops=1000000000000" in found
    # And nothing that the options chosen do not have.
    shown = {line.partition("=")[0] for line in found}
    assert shown.isdisjoint(
        {"dataset.path", "dataset.columns.question", "verifier._target_", "verifier.options"}
    )
    assert {"dataset.seed", "verifier.engine"} < shown
    # No strategy asks the verifier.
    assert not any(key.startswith("cluster.verifier") for key in shown)


def _words(given: object) -> list[tuple[str, object]]:
    from dataclasses import asdict

    flat = flatten(asdict(given))  # type: ignore[call-overload]
    # What the default options of dataset and verifier do not have.
    absent = (
        "dataset.path",
        "dataset.hub",
        "dataset.columns",
        "dataset.template",
        "dataset.system",
        "verifier._target_",
        "verifier.family",
        "verifier.measure",
        "verifier.separator",
        "verifier.max_tokens",
        "verifier.temperature",
        "verifier.chains",
        "verifier.parameters",
        "verifier.options",
    )
    return [(key, value) for key, value in flat.items() if not key.startswith(absent)]


def test_what_is_not_set_is_told_from_what_is(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    kept = [word for word in words if "typical" not in word]
    assert "policy.typical_tokens=null  (here 40)" in after(lines(kept, capsys), "Settings")
    assert [
        settings_of(["domain=arithmetic", f"policy.max_tokens={most}"]).policy.typical
        for most in (40, 256, 4096)
    ] == [
        40,
        70,
        819,
    ]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("strategies=[majority(n=100000000)]", "majority.n = 100000000: must be at most 1,000,000"),
        ("folder=/proc/none/run", "folder = '/proc/none/run': No such file or directory"),
    ],
)
def test_what_the_run_would_refuse_is_refused(
    word: str, message: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--dry-run", *words, word]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1


def with_tensor(folder: Path) -> Path:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(tensors) if name.endswith("down_proj.weight"))
    tensors[f"{name}_scale"] = torch.ones(1)
    save_file(tensors, folder / "model.safetensors")
    return folder


MLA = {
    "num_key_value_heads": 4,
    "q_lora_rank": None,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}
"""Keys of another width than values."""
UNFIT = {
    "gpt-j": Folder("gpt-j", "GPTJConfig", (("rotary_dim", 8), ("n_positions", 128))),
    "bloom": Folder("bloom", "BloomConfig", (("n_head", 4), ("n_layer", 2), ("seq_length", 128))),
    "mla": Folder("mla", "DeepseekV2Config", tuple(MLA.items())),
    "window": Folder("window", "MistralConfig", (("num_key_value_heads", 2), ("sliding_window", 16))),
}
SMALL = [
    "domain=arithmetic",
    "dataset.options={legs: [1,1], sums: 0}",
    "policy.max_tokens=10",
    "policy.typical_tokens=10",
    "dataset.count=2",
]


@pytest.mark.parametrize("kind", UNFIT)
def test_an_architecture_that_the_local_engine_does_not_run_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = UNFIT[kind].save(tmp_path / kind)
    capsys.readouterr()
    words = [f"policy.path={folder}", "verifier=none", "strategies=[greedy]", *SMALL]
    assert main(["evaluate", "--dry-run", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: policy.path = '{folder}': model")
    assert said.err.endswith("set policy.engine=vllm, or take another model\n")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("role", ["policy", "verifier"])
def test_a_tensor_that_nothing_uses_is_refused(
    role: str, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = dict(zip(("policy", "verifier"), models, strict=True))
    folders[role] = with_tensor(shutil.copytree(folders[role], tmp_path / role))
    words = [f"policy.path={folders['policy']}", f"verifier.path={folders['verifier']}"]
    assert main(["evaluate", "--dry-run", *words, "strategies=[best_of_n(n=2)]", *SMALL]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    name = "model.layers.0.mlp.down_proj.weight_scale"
    assert said.err.startswith(f"error: {role}.path = '{folders[role]}': it has a tensor {name}, for which")
    assert said.err.count("\n") == 1


def test_a_verifier_that_vllm_does_not_score_is_refused(
    models: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestration.setup.models.choose_engine", lambda asked, *_, **__: asked)
    folder = shutil.copytree(models[1], tmp_path / "prm")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["Olmo2ForCausalLM"]}))
    words = [
        f"policy.path={models[0]}",
        "policy.engine=local",
        f"verifier.path={folder}",
        "verifier.engine=vllm",
    ]
    assert main(["evaluate", "--dry-run", *words, "strategies=[best_of_n(n=2)]", *SMALL]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: verifier.path = '{folder}': vLLM scores LlamaForCausalLM, ")
    assert said.endswith("set verifier.engine=local\n")


def test_end_tokens_are_shown_with_what_names_them(
    words: list[str], models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(models[0], tmp_path / "chat")
    kept = [word for word in words if not word.startswith("policy.path")]
    more = ["strategies=[greedy]", "verifier=none", f"policy.path={folder}"]
    config = json.loads((folder / "config.json").read_text())
    end = json.loads((folder / "tokenizer_config.json").read_text())["eos_token"]
    number = config["eos_token_id"]
    sources = f"{end} ({number}: config.json, generation_config.json, the tokenizer"
    assert any(f"{sources})" in line for line in lines(kept, capsys, *more))
    turns = "{% for m in messages %}" + f"{{{{ m.content }}}}{end}" + "{% endfor %}"
    (folder / "chat_template.jinja").write_text(turns)
    found = lines(kept, capsys, *more)
    assert any(f"{sources}, the chat template)" in line for line in found)
    (folder / "generation_config.json").unlink()
    (folder / "chat_template.jinja").unlink()
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"eos_token": None}))
    assert any("none: a solution ends by its text" in line for line in lines(kept, capsys, *more))


def test_prompts_count_the_tokens_of_a_chat_template(
    words: list[str], models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trap: a template's turns, and the system text that it tells of its own, are longer than the question."""
    shutil.copytree(models[0], tmp_path / "chat")
    turns = "You are a careful solver. {% for m in messages %}1 2 3 {{ m.content }}{% endfor %} 4 5 6: "
    (tmp_path / "chat" / "chat_template.jinja").write_text(turns)
    kept = [word for word in words if not word.startswith("policy.path")]
    more = ["strategies=[greedy]", f"policy.path={tmp_path / 'chat'}", "policy.prompt.chat=true"]
    found = lines([*kept, "dataset.count=1"], capsys, *more)
    told = next(line for line in found if line.startswith("The prompt of the first problem"))
    tokens = re.search(r"its (\d+) tokens", told)
    assert tokens is not None
    assert any(f"prompt {tokens[1]} on average" in line for line in found)


def test_a_chat_template_that_fails_is_named(
    words: list[str], models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models[0], tmp_path / "chat")
    (tmp_path / "chat" / "chat_template.jinja").write_text("{{ raise_exception('no turn of this kind') }}")
    kept = [word for word in words if not word.startswith("policy.path")]
    more = ["strategies=[greedy]", f"policy.path={tmp_path / 'chat'}", "policy.prompt.chat=true"]
    assert main(["evaluate", "--dry-run", *kept, *more]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: policy.prompt.chat = True: ")
    assert "no turn of this kind" in said.err
    assert said.err.count("\n") == 1


def test_columns_that_have_no_room_are_named(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    told = "Not shown in 70 columns of text: scored, FLOPs (exact); a wider terminal shows all."
    assert told in lines(words, capsys, "strategies=[beam(n=4)]")
    # Off a terminal there is room for all.
    monkeypatch.delenv("COLUMNS")
    found = lines(words, capsys, "strategies=[beam(n=4)]")
    assert any("FLOPs (exact)" in line and "scored" in line for line in found)
    assert not any(line.startswith("Not shown") for line in found)


def test_brackets_and_letters_that_a_terminal_lacks_are_shown(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bytes_out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_out, encoding="latin-1"))
    # A terminal of so many columns would break the folder's name.
    monkeypatch.delenv("COLUMNS", raising=False)
    folder = tmp_path / "[red]run[/red] [1]"
    more = [f"folder={folder}", "strategies=[greedy]", "policy.prompt.template=π ü {question}"]
    assert main(["evaluate", "--dry-run", *words, *more]) == 0
    said = bytes_out.getvalue().decode("latin-1")
    assert f"{folder} (new)" in said
    assert r'policy.prompt.template="\u03c0 ü {question}"' in said


def test_a_report_is_written_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = write_run(tmp_path / "run[1]", problems=2)
    shutil.rmtree(folder / "report", ignore_errors=True)
    assert main(["report", str(folder), "out=~/mine/[b]", "report=table"]) == 0
    out = tmp_path / "mine" / "[b]"
    assert str(out / "report.md") in capsys.readouterr().out
    assert (out / "table.csv").is_file()
    assert not (folder / "report").exists()
    (tmp_path / "file").touch()
    assert main(["report", str(folder), f"out={tmp_path / 'file'}"]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: out = '{tmp_path / 'file'}': File exists: choose a folder"
    )


def test_the_memory_of_each_replica_is_shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(words, capsys, "strategies=[beam(n=4)]", "cluster.policy.memory=1e-5")
    told = [line.removeprefix("memory").strip() for line in found if "of weights; keys and values of" in line]
    assert [line.split(":")[0] for line in told] == ["policy", "verifier"]
    assert re.fullmatch(
        r"policy: \d+ kB of weights; keys and values of 512 B a token, so \d+ kB for a longest sequence of [\d]+, "
        r"room for \d of 256 at once in \d+ kB",
        told[0],
    )
    assert "room for 256 of 256 at once" in told[1]
