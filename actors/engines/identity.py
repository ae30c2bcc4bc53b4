"""What a model folder is: hashes of its weights, config and tokenizer, so that a changed model is never taken for the
old one. It reads files and knows nothing of engines."""

from __future__ import annotations

import hashlib
from pathlib import Path

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
)


def _digest(files: list[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as handle:
            while block := handle.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def model_hash(folder: Path) -> str:
    """Hash of weights, config and value head, in hex."""
    names = {p.name for p in folder.glob("*.safetensors")} | {"config.json", "value_head.json"}
    return _digest([folder / name for name in sorted(names) if (folder / name).is_file()])


def tokenizer_hash(folder: Path) -> str:
    """Hash of the tokenizer's files, in hex."""
    return _digest([folder / name for name in TOKENIZER_FILES if (folder / name).is_file()])
