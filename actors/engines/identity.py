"""Hashes of a model's files, so that a changed one is never taken for the old. It reads files, and knows no engines."""

from __future__ import annotations

import hashlib
from pathlib import Path

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)


def _read_into(digest: hashlib.blake2b, file: Path) -> None:
    with file.open("rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)


def hash_of(files: list[Path], more: str = "") -> str:
    """Hash of these files with their names, and of `more`, in hex."""
    found = hashlib.blake2b(more.encode(), digest_size=16)
    for file in files:
        found.update(file.name.encode())
        _read_into(found, file)
    return found.hexdigest()


def tokenizer_hash(folder: Path) -> str:
    """Hash of the tokenizer's files, in hex."""
    return hash_of([folder / name for name in TOKENIZER_FILES if (folder / name).is_file()])


def files_hash(path: Path) -> str:
    """Hash of a file, or of every file below a folder with its name there, in hex; hidden files and caches of Python's are
    left out."""
    digest = hashlib.blake2b(digest_size=16)
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    for file in files:
        parts = file.relative_to(path).parts
        if any(part.startswith(".") or part == "__pycache__" for part in parts):
            continue
        digest.update(f"{'/'.join(parts)}\0{file.stat().st_size}\0".encode())
        _read_into(digest, file)
    return digest.hexdigest()
