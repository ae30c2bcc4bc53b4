"""Which weights a folder has, told without loading any."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from actors.engines.weights import INDEX, weight_files
from actors.errors import UserError


def shards(folder: Path, count: int) -> None:
    names = {f"t{i}": f"model-{i:05}-of-{count:05}.safetensors" for i in range(count)}
    for tensor, name in names.items():
        save_file({tensor: np.zeros(100, np.float32)}, folder / name)
    (folder / INDEX).write_text(json.dumps({"weight_map": names}))


def refused(folder: Path) -> str:
    with pytest.raises(UserError, match=f"^policy.path = {re.escape(repr(str(folder)))}: ") as error:
        weight_files(folder, "policy.path")
    return str(error.value)


def test_shards_come_in_order_and_a_missing_one_is_named(tmp_path: Path) -> None:
    shards(tmp_path, 3)
    files = [f"model-{i:05}-of-00003.safetensors" for i in range(3)]
    assert [file.name for file in weight_files(tmp_path)] == files
    (tmp_path / files[1]).unlink()
    assert f"{files[1]} is missing ({INDEX} names it)" in refused(tmp_path)
    (tmp_path / INDEX).write_text('{"weight_map": []}')
    assert f"{INDEX} is damaged" in refused(tmp_path)


@pytest.mark.parametrize("length", [0, 7, 60, 420])
def test_a_file_that_is_cut_off_is_refused(length: int, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"t": np.zeros(100, np.float32)}, file)
    whole = file.read_bytes()
    assert len(whole) > 421
    file.write_bytes(whole[:length])
    assert "model.safetensors is cut off or damaged (" in refused(tmp_path)


def test_pickles_are_refused_and_never_opened(tmp_path: Path) -> None:
    assert "there are no weights" in refused(tmp_path)
    (tmp_path / "training_args.bin").write_bytes(b"no weights")
    assert "there are no weights" in refused(tmp_path)
    for name in ("z.pth", "pytorch_model.bin", "model.pt"):
        (tmp_path / name).write_bytes(b"whatever")
        assert f"its weights are pickled ({min(p.name for p in tmp_path.glob('[!t]*'))})" in refused(tmp_path)
    save_file({"t": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    assert weight_files(tmp_path)


def test_what_the_message_says_turns_pickles_into_safetensors(tmp_path: Path) -> None:
    shape = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=1, num_key_value_heads=2))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert "from_pretrained and save_pretrained" in refused(tmp_path)
    AutoModelForCausalLM.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert [file.name for file in weight_files(tmp_path)] == ["model.safetensors"]
