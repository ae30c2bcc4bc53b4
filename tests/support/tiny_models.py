"""A random policy and verifier small enough for tests: real folders, real tokenizer, nonsense for text."""

from pathlib import Path

import torch

from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from orchestration.problems import load
from orchestration.training.policy import PolicyShape, build_model
from orchestration.training.tokenizer import train_tokenizer

SHAPE = PolicyShape(width=32, layers=2, heads=2, feed_forward=64, context=256)


def make_models(folder: Path) -> tuple[Path, Path]:
    """Write `policy` and `prm` into `folder`; return their paths."""
    texts = (f"{one.question}\n{one.solution}\n" for one in load("arithmetic", split="train", count=200))
    tokenizer = train_tokenizer(texts, 300)
    paths = []
    for name in ("policy", "prm"):
        path = folder / name
        model = build_model(SHAPE, tokenizer, seed=len(paths))
        model.config.use_cache = True
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        paths.append(path)
    torch.manual_seed(0)
    ValueHead(ValueHeadConfig(SHAPE.width, prompt=True)).save(paths[1])
    return paths[0], paths[1]
