"""What makes a model folder another one."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from actors.engines.identity import tokenizer_hash
from actors.engines.model_config import model_hash


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer.json",
        "tokenizer_config.json",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
    ],
)
def test_the_tokenizer_is_another_where_one_of_its_files_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    before = tokenizer_hash(tmp_path)
    (tmp_path / name).write_text("{{ messages }}")
    assert tokenizer_hash(tmp_path) != before


@pytest.mark.parametrize("name", ["config.json", "model-00002-of-00002.safetensors", "value_head.json"])
def test_the_model_is_another_where_one_of_its_files_is(name: str, tmp_path: Path) -> None:
    before = model_hash(tmp_path)
    (tmp_path / name).write_text("{}")
    assert model_hash(tmp_path) != before
    # Cards and tokenizers are not the model.
    known = model_hash(tmp_path)
    (tmp_path / "README.md").write_text("a model")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert model_hash(tmp_path) == known


def test_the_model_is_another_where_another_file_names_a_further_end_token(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 2}')
    config_alone = model_hash(tmp_path)
    generation = tmp_path / "generation_config.json"
    generation.write_text('{"eos_token_id": 2, "temperature": 0.6}')
    assert model_hash(tmp_path) == config_alone
    generation.write_text('{"eos_token_id": [2, 7]}')
    further = model_hash(tmp_path)
    assert further != config_alone
    generation.unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|end|>"}}')
    assert model_hash(tmp_path) == config_alone, "there is no vocabulary with that word"
    word = Tokenizer(WordLevel({"a": 0, "<|end|>": 7}, unk_token="a"))
    word.save(str(tmp_path / "tokenizer.json"))
    assert model_hash(tmp_path) == further
    # What a verifier scores was ended by its policy.
    (tmp_path / "value_head.json").write_text("{}")
    verifier = model_hash(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert model_hash(tmp_path) == verifier
