"""`flopwise doctor` as a user meets it: its lines, its exit code, its help; with the bundled pair, and with a public verifier
of another tokenizer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestration.api import doctor
from orchestration.commands.main import main
from tests.support.public_verifiers import PUBLIC

ORDER = [
    "settings",
    "data",
    "files",
    "tokenizers",
    "steps",
    "contexts",
    "machine",
    "memory",
    "run",
    "prompts",
    "pair",
    "generation",
]


def lines(text: str) -> list[tuple[str, str, str]]:
    """The mark, the check and the text of each finding."""
    found = [re.fullmatch(r"(ok|warning|wrong|-) +(\w+) +(.*)", line) for line in text.splitlines()]
    return [(one[1], one[2], one[3]) for one in found if one is not None]


def in_order(found: list[tuple[str, str, str]]) -> list[str]:
    return list(dict.fromkeys(check for _, check, _ in found))


def test_the_bundled_pair_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    found = lines(out)
    assert in_order(found) == ORDER
    assert {mark for mark, _, _ in found} == {"ok"}
    assert len(re.findall(r'^ countdown-\w+ +\d+ +"<bos>Make ', out, re.MULTILINE)) == 10
    assert out.splitlines()[-1] == "all is well"
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_a_public_verifier_of_another_tokenizer(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prm = PUBLIC["qwen_math_prm"].save(tmp_path / "prm")
    kept = [word for word in words if not word.startswith("verifier")]
    more = [
        "verifier=qwen_math_prm",
        f"verifier.path={prm}",
        f"folder={tmp_path / 'run'}",
        "strategies=[best_of_n(n=2)]",
    ]
    capsys.readouterr()
    assert main(["doctor", *kept, *more]) == 0
    found = lines(capsys.readouterr().out)
    assert in_order(found) == ORDER
    marks = {check: mark for mark, check, _ in found}
    assert marks["steps"] == "warning", "the policy's steps are lines"
    texts = [text for _, check, text in found if check == "pair"]
    assert "of 7 pairs written for this" in texts[0]


def test_what_is_wrong_ends_with_1_and_how_to_mend_it(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    more = [
        "verifier.path=Qwen/Qwen2.5-Math-PRM-7B",
        f"folder={tmp_path / 'run'}",
        "strategies=[best_of_n(n=2)]",
    ]
    assert main(["doctor", *words, *more]) == 1
    out = capsys.readouterr().out
    wrong = [(check, text) for mark, check, text in lines(out) if mark == "wrong"]
    assert [check for check, _ in wrong] == ["files"]
    assert "hf download Qwen/Qwen2.5-Math-PRM-7B" in wrong[0][1]
    # The policy was looked at all the same.
    assert [mark for mark, check, _ in lines(out) if check == "generation"] != ["-"]
    assert re.search(r"^1 wrong, .*not looked at$", out.splitlines()[-1])


def test_words_that_are_no_settings_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "dataset.cuont=3"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: dataset.cuont: no such setting")


def test_help_has_examples_and_the_settings_of_an_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("flopwise doctor: whether a set-up is sound")
    assert "Examples:\n  flopwise doctor\n" in out
    assert re.search(r"^  policy\.path=", out, re.MULTILINE)
    assert "flopwise doctor" in _help(capsys)


def _help(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["--help"]) == 0
    return capsys.readouterr().out


def test_python_gets_the_same_as_objects(tmp_path: Path) -> None:
    found = doctor(
        "greedy", folder=tmp_path / "run", verifier="none", policy="/nowhere", settings=["dataset.count=3"]
    )
    assert next(one.mark for one in found if one.check == "files") == "wrong"
    assert found[-1].mark == "-"
