"""Texts found token by token are those that stand in the decoded text, with every kind of tokenizer."""

from __future__ import annotations

import functools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engines.text_ends import TextEnds, answer_end, pieces
from tests.support.model_folders import TOKENIZERS, tokenizer_of

TEXTS = [["\n"], ["\n\n"], ["ab", "bab", "the "], ["\n\nQ:", "</s>"], ["é"]]


@functools.cache
def known(kind: str) -> list[bytes]:
    return pieces(tokenizer_of(kind).backend_tokenizer)


@functools.cache
def machine(kind: str, texts: tuple[str, ...], answer: bool) -> TextEnds:
    return TextEnds(known(kind), texts, answer=answer)


def found(kind: str, tokens: list[int], texts: list[str], *, answer: bool) -> list[int]:
    """By searching the whole text: each token with which a text, or a line with an answer, is complete."""
    patterns = [re.escape(text.encode()) for text in texts]
    ends, start, text = [], 0, b""
    for place, token in enumerate(tokens, start=1):
        for byte in known(kind)[token]:
            text += bytes([byte])
            # A line with an answer begins anywhere in its line; a text ends here.
            whole = answer and byte == ord("\n") and answers(text[start:].split(b"\n")[-2])
            if whole or any(re.search(rb"(?s:.*)(?:%s)\Z" % one, text[start:]) for one in patterns):
                ends.append(place)
                start = len(text)
    return list(dict.fromkeys(ends))


HEADING = re.compile(
    rb"(?i:step(?![a-z]).*|(?:(?:the|final)[\s*_]+[\s#*_]*)*(?:answer|solution|result|conclusion|summary)[\s*_.:]*)"
    rb"|\d[.)][\s*_]+[A-Za-z].*",
    re.DOTALL,
)


def answers(line: bytes) -> bool:
    """Whether a whole line has an answer behind its marker, and no heading."""
    _, marker, behind = line.partition(b"####")
    behind = re.sub(rb"^[\s#*_]*", b"", behind)
    articles = re.match(rb"(?i:(?:(?:the|final)[\s*_]+[\s#*_]*)*)", behind)
    rest = behind[articles.end() :] if articles else behind
    asked = re.sub(rb"[\s*_]+\Z", b"", rest)
    told = bool(rest) and not asked.endswith(b":") and HEADING.fullmatch(rest) is None
    return bool(marker) and told


def tokens_of(kind: str) -> st.SearchStrategy[list[int]]:
    """Any tokens, most of them such as the texts are made of."""
    near = [i for i, one in enumerate(known(kind)) if one and not one.strip(b"\nab#Q: the.\xc3\xa9")]
    return st.lists(st.one_of(st.sampled_from(near), st.integers(0, len(known(kind)) - 1)), max_size=25)


@pytest.mark.parametrize("texts", TEXTS, ids=repr)
@pytest.mark.parametrize("kind", TOKENIZERS)
@given(data=st.data())
def test_texts_are_found_where_they_stand(kind: str, texts: list[str], data: st.DataObject) -> None:
    tokens, answer = data.draw(tokens_of(kind)), data.draw(st.booleans())
    ends = machine(kind, tuple(texts), answer)
    expected = found(kind, tokens, texts, answer=answer)
    assert list(ends.ends(tokens)) == expected
    assert list(ends.ends_from_last(tokens)) == expected[::-1]
    # What goes on from any prefix, with its state alone, comes to the same.
    cut = data.draw(st.integers(0, len(tokens)))
    state, again = ends.state(tokens[:cut]), []
    for place in range(cut, len(tokens)):
        state, hit = ends.next(state, tokens[place])
        again += [place + 1] if hit else []
    assert again == [end for end in expected if end > cut]
    assert set(ends.always) <= {i for i in range(len(known(kind))) if ends.next(0, i)[1]}


LINES = st.lists(
    st.sampled_from(
        [
            "#### ",
            "####",
            "Step 1",
            "step",
            " 1. Add",
            "1.",
            "2) x",
            "29",
            "The ",
            "final ",
            "Answer",
            "**",
            ":",
            " ",
            "answer is 3",
        ]
    ),
    max_size=6,
)


@given(LINES)
def test_a_heading_is_no_line_with_an_answer(parts: list[str]) -> None:
    line = "".join(parts)
    text = f"so\n{line}\nmore"
    assert answer_end(text) == (len(text) - 4 if answers(line.encode()) else None)


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=st.text(alphabet="abthe é\n.:", max_size=30))
def test_what_tokens_stand_for_is_what_they_decode_to(kind: str, text: str) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text, add_special_tokens=False)
    joined = b"".join(known(kind)[i] for i in ids).decode()
    assert joined.strip() == tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip()


@pytest.mark.parametrize("kind", ["byte-level", "metaspace", "unigram"])
def test_every_boundary_of_a_text_is_seen(kind: str) -> None:
    """Trap: of a delimiter that lies across tokens, or inside one, only a few were seen."""
    tokenizer = tokenizer_of(kind)
    text = "first:\n\nsecond.\n\nthird\n\n1. fourth\n2. fifth.\n\nsixth"
    ids = tokenizer.encode(text, add_special_tokens=False)
    ends = list(machine(kind, ("\n\n",), False).ends(ids))
    steps = [
        b"".join(known(kind)[i] for i in ids[a:b]).decode()
        for a, b in zip([0, *ends], [*ends, len(ids)], strict=True)
    ]
    assert [step.strip() for step in steps] == [step.strip() for step in text.split("\n\n")]
