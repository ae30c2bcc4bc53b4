"""Token ids of texts in parts, for each kind of tokenizer: those of the whole text, no special one in texts of others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from actors.engines.verifiers.families.formats import MathShepherd, Skywork, Trl
from actors.engines.verifiers.families.pieces import Pieces, Writer
from tests.support.public_verifiers import sentence_pieces
from tests.support.tokenizer_kinds import KINDS, save_kind


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_kind(request.param, tmp_path / request.param)


TEXTS = [
    "add the 2",
    "é: e\u0301\n\n",
    " the",
    "\n\nthe",
    "",
    "  a\n\n",
    " \n ",
    "a   b\n\n\n\nc    d",
    "\x1fa\x1f",
    "\u3000a\u3000",
]


def test_parts_are_encoded_as_the_tokenizer_does_the_whole_text(folder: Path) -> None:
    pieces, tokenizer = Pieces(folder), AutoTokenizer.from_pretrained(folder)
    head, middle, behind = pieces.turns(1, None)
    for said in TEXTS:
        writer = Writer(pieces).frame(head).text(said).frame(middle).text(said).frame(behind)
        whole = f"{head}{said}{middle}{said}{behind}"
        assert list(writer.ids) == tokenizer.encode(whole, add_special_tokens=False)


def test_white_space_is_taken_by_the_token_on_either_side(tmp_path: Path) -> None:
    folder = save_kind("taking", tmp_path / "taking")
    pieces, tokenizer = Pieces(folder), AutoTokenizer.from_pretrained(folder)
    for said in TEXTS:
        for parts in (
            ("<|user|>\n", said, " <|sep|> a"),
            ("a ", said, "<|sep|><|end|>\n"),
            ("", said, "<|end|> "),
        ):
            written = Writer(pieces).frame(parts[0]).text(parts[1]).frame(parts[2]).text(said).ids
            assert list(written) == tokenizer.encode("".join((*parts, said)), add_special_tokens=False)


def test_no_text_of_others_has_a_special_token(folder: Path) -> None:
    pieces = Pieces(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    head, _, behind = pieces.turns(1, None)
    framed = {one for one in pieces.split(head + behind) if isinstance(one, int)}
    assert framed
    special = {*framed, *tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    names = tokenizer.convert_ids_to_tokens(sorted(special))
    for said in (*names, "a{}b", "a {} {} b", "{}\n{}"):
        for name in names:
            text = said.replace("{}", name)
            for first in (True, False):
                ids = pieces.encode(text, first=first)
                assert not special & set(ids), text
                assert ids


CLOCK = "{{ strftime_now('%Y %H:%M:%S.%f') }} {{ date_string }}"


def test_prompts_do_not_hang_on_the_clock(tmp_path: Path) -> None:
    folder = save_kind("qwen", tmp_path / "qwen")
    file = folder / "chat_template.jinja"
    file.write_text(CLOCK + file.read_text())
    for _ in range(2):
        assert Pieces(folder).turns(1, None)[0].startswith("2024 00:00:00.000000 26 Jul 2024<")
        assert Pieces(folder).asking()[0].startswith("2024 00:00:00.000000 26 Jul 2024<")


def _trl_row(folder: Path, question: str, steps: list[str], separator: str) -> list[int]:
    """TRL, `PRMTrainer.tokenize_row`: each text by itself."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    for text in (question, *(one for step in steps for one in (step, separator))):
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def test_ids_of_trl_are_those_of_its_training(folder: Path) -> None:
    steps = ["a:\n   b", "c   d"]
    tags = [
        one for one in ("<|im_end|>", "<｜User｜>", "<|end|>") if one in Pieces(folder).tokenizer.get_vocab()
    ]
    for separator in ("\n", "\n\n\n", *tags):
        reading = Trl(Pieces(folder), 512, separator).read("is   it", steps)
        assert list(reading.ids) == _trl_row(folder, "is   it", steps, separator)
        ends = [reading.ids[end - 1] for end in reading.ends]
        assert len(set(ends)) == 1


@pytest.mark.parametrize(("kind", "tag"), [("added", "<｜User｜>"), ("qwen", "<extra_0>")])
def test_a_separator_that_is_a_tag_is_in_no_step(kind: str, tag: str, tmp_path: Path) -> None:
    pieces = Pieces(save_kind(kind, tmp_path / kind))
    reading = Trl(pieces, 512, tag).read(f"is it {tag}", [f"a {tag} b", tag])
    assert [place + 1 for place, one in enumerate(reading.ids) if one == pieces.special[tag]] == list(
        reading.ends
    )


@pytest.mark.parametrize("added", [False, True])
def test_a_word_that_begins_as_the_tag_of_math_shepherd_is_none(added: bool, tmp_path: Path) -> None:
    tokenizer = sentence_pieces()
    if added:
        tokenizer.add_tokens([AddedToken("ки", special=False, normalized=False)])
    tokenizer.save_pretrained(tmp_path)
    reading = MathShepherd(Pieces(tmp_path), 512).read("киa, aки киa?", ["a киa", "киa-ки", "aкиa b"])
    tag = tokenizer.encode("ки")[-1]
    assert [place + 1 for place, one in enumerate(reading.ids) if one == tag] == list(reading.ends)
    assert len(reading.ends) == 3


def test_ids_of_skywork_are_those_of_its_script(tmp_path: Path) -> None:
    folder = save_kind("first_space", tmp_path / "first_space")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.encode(tokenizer.bos_token + "is it" + "\n", add_special_tokens=False)
    ids += tokenizer.encode("a b", add_special_tokens=False)
    assert list(Skywork(Pieces(folder), 512).read("is it", ["a b"]).ids[: len(ids)]) == ids
