"""Which tokens end a text, by what a folder says of them: files, and the chat template that writes one behind an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import LlamaConfig

from actors.engines.end_tokens import ends_by_source
from actors.engines.model_config import engine_info, model_hash, read_config
from actors.errors import UserError
from tests.support.families import SIZES
from tests.support.model_folders import EOS, SPECIAL, name_end, tokenizer_of

USER, _, END = (SPECIAL.index(one) for one in ("<|user|>", "<|assistant|>", "<|end|>"))
TURN = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}"

TEMPLATES = {
    "phi": (TURN + "<|end|>\n{% endfor %}", [END]),
    "behind-a-blank": (TURN + " \n<|end|>{% endfor %}", [END]),
    "llama-2": (
        "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}",
        [EOS],
    ),
    # Between turns <|end|>, which ends a model's thoughts too; behind the last what the model is to end with.
    "harmony": (
        TURN + "{{ '</s>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endfor %}",
        [EOS],
    ),
    # Nothing ends a turn but the beginning of the next.
    "glm": (TURN + "{% endfor %}", [USER]),
    "plain": ("{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n{% endfor %}", []),
    "word": (TURN + "the end<|end|>{% endfor %}", []),
    "fails": ("{{ raise_exception('no turn of this kind') }}", []),
    "no-turns": ("{{ messages[0].content }}", []),
    "broken": ("{% for m in messages %}", []),
    "a-turn-alone-fails": (
        "{% if messages[-1].role == 'assistant' %}{{ raise_exception('it has to be the user') }}{% endif %}"
        + TURN
        + "<|end|>{% endfor %}",
        [END],
    ),
}


def folder_of(path: Path, template: str | None = None) -> Path:
    LlamaConfig(**SIZES | {"vocab_size": 300, "eos_token_id": None}).save_pretrained(path)
    tokenizer = tokenizer_of("byte-level")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("kind", TEMPLATES)
def test_what_a_chat_template_writes_behind_an_answer_ends_one(kind: str, tmp_path: Path) -> None:
    template, ends = TEMPLATES[kind]
    folder = folder_of(tmp_path, template)
    config = read_config(folder)
    assert ends_by_source(folder, config)["the chat template"] == ends
    info = engine_info(folder, config, engine="local", dtype="float32", context=128)
    assert set(info.eos_ids) == {EOS, *ends}


def test_each_file_is_asked_and_each_token_told_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, TEMPLATES["phi"][0])
    name_end(folder, "config", 9, "")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, END, 1000]}))
    found = ends_by_source(folder, read_config(folder))
    assert found == {
        "config.json": [9],
        "generation_config.json": [9, END],
        "the tokenizer": [EOS],
        "the chat template": [END],
    }
    info = engine_info(folder, read_config(folder), engine="local", dtype="float32", context=128)
    assert info.eos_ids == (9, END, EOS)


def test_a_model_whose_template_ends_turns_otherwise_is_another(tmp_path: Path) -> None:
    """Trap: outcomes that were cut off at another token are used again."""
    plain = model_hash(folder_of(tmp_path / "a", TEMPLATES["plain"][0]))
    assert model_hash(folder_of(tmp_path / "b")) == plain
    assert model_hash(folder_of(tmp_path / "c", TEMPLATES["phi"][0])) != plain
    # It adds nothing to what the tokenizer names.
    assert model_hash(folder_of(tmp_path / "d", TEMPLATES["llama-2"][0])) == plain


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ['{"eos_token_id": ', "[1, 2]", "\xff"])
def test_a_file_that_is_damaged_is_named(name: str, content: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    config = read_config(folder)
    (folder / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=rf"^model = '.*': {name} (is not JSON|holds no settings)"):
        engine_info(folder, config, engine="local", dtype="float32", context=128)
