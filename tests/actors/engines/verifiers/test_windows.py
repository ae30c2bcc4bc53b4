"""Public verifiers of which some layers read a sliding window: within it they score as transformers does, beyond it they
refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    MistralConfig,
    Qwen2Config,
)

from actors.engines.base import ScoreRequest
from actors.engines.local.verifier import ScoringEngine
from actors.engines.verifiers.families.chosen import ChosenFamily
from tests.support.public_verifiers import QUESTION, byte_level, save, sizes

WINDOW = 320
VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def save_text(folder: Path, make: Any, **more: Any) -> Path:
    tokenizer = byte_level("chatml", bos=False)
    config = make(**sizes(tokenizer) | {"sliding_window": WINDOW} | more)
    return save(
        folder, config, tokenizer, {}, make.__name__.replace("Config", "ForCausalLM"), vocabulary=True
    )


def save_several(folder: Path) -> Path:
    """As Gemma 3 of 4 billion parameters and more: what its text model is stands apart in its config."""
    tokenizer = byte_level("chatml", bos=False)
    text = sizes(tokenizer) | {"head_dim": 32, "sliding_window": WINDOW}
    config = Gemma3Config(text_config=text, vision_config=VISION | {"image_size": 28, "patch_size": 14})
    torch.manual_seed(3)
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


MODELS = {
    "gemma3": lambda folder: save_text(folder, Gemma3TextConfig, head_dim=32, tie_word_embeddings=True),
    "gemma3_several": save_several,
    "qwen2": lambda folder: save_text(folder, Qwen2Config, use_sliding_window=True, max_window_layers=1),
    "mistral": lambda folder: save_text(folder, MistralConfig),
}


@pytest.mark.parametrize("name", MODELS)
async def test_within_the_window_of_some_layers_scores_are_transformers_own(
    name: str, tmp_path: Path
) -> None:
    folder = MODELS[name](tmp_path / name)
    chosen = ChosenFamily("judge", folder, folder)
    wording, engine = chosen.wording(), ScoringEngine.load(folder, family=chosen)
    assert wording.context == engine.info.context == WINDOW
    several = name == "gemma3_several"
    kind = Gemma3ForConditionalGeneration if several else AutoModelForCausalLM
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = [tokenizer.encode(word)[0] for word in ("Yes", "No")]
    for step in ("a the b", "a the b " * 20):
        reading = wording.read(QUESTION, [step])
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([reading.ids])).logits[0, -1]
        scores = await engine.score(ScoreRequest(reading.ids, reading.start, reading.ends))
        assert scores.values[0] == pytest.approx(float(logits[words].softmax(dim=-1)[0]), abs=1e-4)
    longer = wording.read(QUESTION, ["a the b " * 60])
    with pytest.raises(ValueError, match=f"exceed the verifier's context of {WINDOW}"):
        await engine.score(ScoreRequest(longer.ids, longer.start, longer.ends))
    await engine.close()
