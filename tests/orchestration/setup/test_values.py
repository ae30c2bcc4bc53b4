"""What the value of a `key=value` word says: quotes, backslashes, commas, and paths with ~ or brackets."""

from pathlib import Path

import pytest

from actors.errors import UserError
from orchestration.api import load, settings_of
from orchestration.setup.compose import compose
from orchestration.setup.model_folders import existing
from orchestration.setup.settings import EvaluateSettings
from orchestration.setup.values import list_of_texts
from orchestration.training.job import PrmJob


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[a,b]", ["a", "b"]),
        ('["a,b",c]', ["a,b", "c"]),
        ("['a,b', c]", ["a,b", "c"]),
        ("[runs[1],runs/x[2]]", ["runs[1]", "runs/x[2]"]),
        ("runs[1]", ["runs[1]"]),
        ("[runs[1]]", ["runs[1]"]),
        ("[bob's run,x]", ["bob's run", "x"]),
        ("[it's,x's]", ["it's", "x's"]),
        ("[my.C(a='x)y,z'),greedy]", ["my.C(a='x)y,z')", "greedy"]),
        ("['say ''hi''']", ["say 'hi'"]),
        (r'["a\\b"]', ["a\\b"]),
    ],
)
def test_lists_part_at_the_commas_that_are_meant(text: str, items: list[str]) -> None:
    assert list_of_texts(text) == items


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ('["Hello, world"]', ["Hello, world"]),
        ('"Hello, world"', ["Hello, world"]),
        (r'["\n\nQ, A:", "</s>"]', ["\n\nQ, A:", "</s>"]),
        (r"['\boxed, it''s']", [r"\boxed, it's"]),
        ('["[INST]"]', ["[INST]"]),
        ("[</s>,<eos>]", ["</s>", "<eos>"]),
        ("</s>", ["</s>"]),
        ("[]", []),
    ],
)
def test_stop_texts_keep_their_commas(text: str, stops: list[str]) -> None:
    assert settings_of([f"policy.stop={text}"]).policy.stop == stops
    assert compose("train/prm", [f"stop={text}"], PrmJob).stop == stops


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Hello, world", '["Hello, world"]'),
        (r"\n\nQ", r'["\n\nQ"]'),
        (r'[</s>,\n "x"]', r'["</s>,\n \"x\""]'),
        ('"a",b', r'["\"a\",b"]'),
    ],
)
def test_a_stop_text_that_would_be_parted_is_refused_with_the_way_to_write_it(text: str, meant: str) -> None:
    for root, key, schema in (("evaluate", "policy.stop", EvaluateSettings), ("train/prm", "stop", PrmJob)):
        with pytest.raises(UserError) as error:
            compose(root, [f"{key}={text}"], schema)
        assert str(error.value).endswith(f"in a shell {key}='{meant}'")


@pytest.mark.parametrize(
    ("word", "template"),
    [
        (r'policy.prompt.template="{question}\n"', "{question}\n"),
        ('policy.prompt.template="{question}\n\nA: "', "{question}\n\nA: "),
        (r"policy.prompt.template=\textbf{Q} {question} \nu", r"\textbf{Q} {question} \nu"),
        (r"policy.prompt.template='{question}\n'", r"{question}\n"),
        ("policy.prompt.template='it''s {question}'", "it's {question}"),
        ('policy.prompt.template="{question}" or "nothing"', '"{question}" or "nothing"'),
        ("policy.prompt.template='{question}", "'{question}"),
    ],
)
def test_texts_are_read_with_their_quotes_and_backslashes(word: str, template: str) -> None:
    assert settings_of([word]).policy.prompt.template == template


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            r'policy.prompt.template="{question}\d"',
            r"policy.prompt.template = .*a backslash begins an escape",
        ),
        (r'strategies=["gr\qeedy"]', "strategies = .*a backslash begins an escape"),
        (r"policy.prompt.template={question}\n", r"policy.prompt.template = .*is two letters here"),
        (r"policy.delimiter=\n\n", "policy.delimiter = .*is two letters here"),
        ("dataset.count=", "dataset.count = '': nothing stands behind the equals sign"),
        ("policy.prompt.chat=", "policy.prompt.chat = '': .*as in policy.prompt.chat=true"),
        ("seeds=", r"seeds = '': .*as in seeds=\[...\]"),
        ("folder=", "folder = '': it must be the name of a file or folder"),
        ("reuse=['']", "reuse = '': it must be the name"),
    ],
)
def test_what_cannot_be_meant_is_named_in_one_line(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        settings_of([word])
    assert "\n" not in str(error.value)


def test_a_tilde_is_resolved_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["folder=~/run", "reuse=[~/a,'~/b']", "dataset=table", "dataset.path=~/q.jsonl"]
    found = settings_of(words)
    assert found.folder == f"{tmp_path}/run"
    assert found.reuse == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert found.dataset.path == f"{tmp_path}/q.jsonl"
    assert compose("train/prm", ["runs=~/prm"], PrmJob).runs == f"{tmp_path}/prm"
    (tmp_path / "rules").touch()
    assert existing("verifier.path", "~/rules") == tmp_path / "rules"
    with pytest.raises(UserError, match=f"run = '{tmp_path}/run': no run there"):
        load("~/run")
    # A user that there is not is no traceback.
    with pytest.raises(UserError, match="there is no such file"):
        existing("verifier.path", "~nobody-of-this-name/rules")


def test_a_very_large_number_is_shown_by_its_power_of_ten() -> None:
    assert str(UserError.of("budget.flops", int(1e200), "less")) == "budget.flops = 1.00e+200: less"
    assert len(str(UserError.of("policy.prompt.system", "x" * 10_000, "less"))) < 300
    assert str(UserError.of("budget.flops", 10**30, "less")).startswith("budget.flops = 1000")
