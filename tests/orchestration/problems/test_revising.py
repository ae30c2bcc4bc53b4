"""Earlier attempts in front of a new one: as they were drawn, the last ones, and none that has no room."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import UserError
from orchestration.problems.prompting import PromptFormat
from orchestration.problems.revising import FILE, Revising, RevisionFormat, trained_format
from tests.support.model_folders import BOS, EOS, TOKENIZERS, tokenizer_of

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LAST_ONLY = "<|user|>{{ messages[-1].content }}<|end|><|assistant|>"
END = tokenizer_of("byte-level").convert_tokens_to_ids("<|end|>")


def _shown(chat: bool) -> tuple[tuple[int, ...], Revising]:
    tokenizer = tokenizer_of("byte-level", bos=True)
    tokenizer.chat_template = CHATML
    prompt = tuple(PromptFormat(chat=chat).prompt_ids(tokenizer, "2 + 2?"))
    # The usual turn would leave no room for most of these attempts.
    return prompt, RevisionFormat(turn="No.", attempts=3).bind(tokenizer, [EOS, END], chat=chat)


SHOWN = {chat: _shown(chat) for chat in (False, True)}
attempts_of = st.lists(st.lists(st.integers(7, 90), max_size=6).map(tuple), max_size=7)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_plain_attempts_stand_before_the_prompt_each_with_an_end(kind: str, bos: bool) -> None:
    tokenizer = tokenizer_of(kind, bos=bos)
    prompt = tuple(PromptFormat().prompt_ids(tokenizer, "two and three"))
    question = prompt[1:] if bos else prompt
    begin = (BOS,) if bos else ()
    last = RevisionFormat().bind(tokenizer, [EOS], chat=False)
    assert last.context(prompt, [(30, 31, EOS), (32,)]) == (*begin, 30, 31, EOS, 32, EOS, *question)
    both = RevisionFormat(first=True).bind(tokenizer, [EOS], chat=False)
    assert both.context(prompt, [(30, 31, EOS)]) == (*prompt, 30, 31, EOS, *question)


@settings(max_examples=40)
@given(attempts_of, st.booleans(), st.integers(0, 60))
def test_ids_stay_as_drawn_the_last_are_kept_and_room_is_kept_to(
    attempts: list[tuple[int, ...]], chat: bool, room: int
) -> None:
    prompt, bound = SHOWN[chat]
    shown = attempts[-3:]
    context = bound.context(prompt, attempts)
    told = tuple(one for attempt in shown for one in (*attempt, *bound.after))
    assert context == (prompt + told if chat else prompt[:1] + told + prompt[1:])
    ended = [(*attempt, END) for attempt in attempts]
    assert bound.context(prompt, ended) == context, "what ended an attempt stands there once"
    longest = max((len(attempt) for attempt in shown), default=0)
    assert len(context) <= bound.length(len(prompt), longest, len(shown))
    short = bound.context(prompt, attempts, room)
    assert len(short) <= max(room, len(prompt))
    assert short in [bound.context(prompt, attempts[start:]) for start in range(len(attempts) + 1)]
    if len(context) <= room:
        assert short == context


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_a_chat_reads_what_its_template_makes_of_the_conversation(system: str | None) -> None:
    tokenizer = tokenizer_of("byte-level")
    tokenizer.chat_template = CHATML
    prompt = PromptFormat("{question}", chat=True, system=system)
    asked = tuple(prompt.prompt_ids(tokenizer, "2 + 2?"))
    said = [tuple(tokenizer.encode(text, add_special_tokens=False)) for text in ("It is 5.", "It is 3.")]
    bound = RevisionFormat(turn="Look again.").bind(tokenizer, [EOS, END], chat=True)
    turns = [("user", "2 + 2?")]
    turns += [("assistant", "It is 5."), ("user", "Look again.")]
    turns += [("assistant", "It is 3."), ("user", "Look again.")]
    whole = tokenizer.apply_chat_template(
        [{"role": "system", "content": system}] * bool(system)
        + [{"role": role, "content": text} for role, text in turns],
        add_generation_prompt=True,
        tokenize=False,
    )
    assert tokenizer.decode(bound.context(asked, [(*one, END) for one in said])) == whole


def test_a_format_that_cannot_be_kept_is_one_clear_error(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("byte-level")
    for template, why in (("{{ raise_exception('no') }}", "fails"), (LAST_ONLY, "leaves out an earlier")):
        tokenizer.chat_template = template
        with pytest.raises(UserError, match=why):
            RevisionFormat().bind(tokenizer, [EOS], chat=True)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="need an end token"):
        RevisionFormat().bind(tokenizer, [], chat=False)
    with pytest.raises(UserError, match="at least 1"):
        RevisionFormat(attempts=0)
    with pytest.raises(UserError, match=r"format\.turn"):
        RevisionFormat(turn=" ")


def test_a_trained_model_knows_its_format(tmp_path: Path) -> None:
    assert trained_format(tmp_path) is None
    chosen = RevisionFormat(first=True, turn="Noch „einmal“.", attempts=2)
    chosen.write(tmp_path)
    assert trained_format(tmp_path) == chosen
    for content in ("[]", "{", '{"unknown": 1}', '{"attempts": 0}'):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(UserError):
            trained_format(tmp_path)
