"""A model folder's config, what the model is known by, and what every engine tells of one that it loaded from there.

It reads files through transformers and knows nothing of weights or of how engines run. Invariant: two engines that load one
folder tell the same of it, but for their own names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.engines import start_clock
from actors.engines.base import EngineInfo
from actors.engines.end_tokens import end_ids, further_ends
from actors.engines.identity import hash_of, tokenizer_hash
from actors.errors import UserError


def read_config(folder: Path) -> Any:
    """The config of a folder as transformers saves it. Raises UserError where it has none."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise UserError.of("model", str(folder), "no config.json there: name a folder saved by transformers")
    return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def model_hash(folder: Path) -> str:
    """Hash of weights, config, value head, and of end tokens that something else names than the config, in hex."""
    names = {p.name for p in folder.glob("*.safetensors")} | {"config.json", "value_head.json"}
    # What a verifier scores was ended by its policy.
    ends = () if (folder / "value_head.json").is_file() else further_ends(folder)
    files = [folder / name for name in sorted(names) if (folder / name).is_file()]
    return hash_of(files, f"ends {ends}" if ends else "")


def engine_info(folder: Path, config: Any, *, engine: str, dtype: str, context: int) -> EngineInfo:
    """What an engine tells of a folder's model, `context` in tokens."""
    with start_clock.standing():
        hashes = model_hash(folder), tokenizer_hash(folder)
    return EngineInfo(
        model=str(folder),
        model_hash=hashes[0],
        tokenizer_hash=hashes[1],
        engine=engine,
        dtype=dtype,
        context=context,
        vocabulary=int(config.get_text_config().vocab_size),
        eos_ids=end_ids(folder, config),
    )
