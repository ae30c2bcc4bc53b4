"""What makes a model folder another one."""

from pathlib import Path

import pytest

from actors.engines.identity import model_hash, tokenizer_hash


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
