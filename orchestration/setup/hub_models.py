"""A model that is named as on the Hugging Face hub: fetched from there into the hub's own cache.

It knows nothing of what a model's files say. Invariant: weights in safetensors and text files are all that is fetched, no
pickle and no code; what was fetched once is taken from the cache where no hub answers.
"""

from __future__ import annotations

from pathlib import Path

_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
_NOT = ["*/*"]
"""Folders inside: the same weights in other forms."""

_known: dict[str, Path] = {}
# What this process has fetched, by name.


class NotFetched(Exception):
    """A hub did not answer, or has no such model; the text says why in a few words."""


def fetched(name: str) -> Path:
    """The folder of a model of the hub. Raises NotFetched."""
    if name not in _known:
        try:
            from huggingface_hub import snapshot_download

            folder = snapshot_download(name, allow_patterns=_FILES, ignore_patterns=_NOT, etag_timeout=10)
        except Exception as error:  # no network, no such name, no right to it: each has classes of its own
            raise NotFetched(" ".join(str(error).split())[:120] or type(error).__name__) from None
        _known[name] = Path(folder)
    return _known[name]
