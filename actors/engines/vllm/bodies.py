"""Which models vLLM runs below the head of a public family, told by a folder's config alone: no torch is loaded.

Invariant: what is refused here is refused before anything is started.
"""

from __future__ import annotations

from pathlib import Path

from actors.engines.folder_files import read_settings
from actors.errors import UserError

BODIES = {
    "llama": "LlamaForCausalLM",
    "mistral": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""By the type of a model the architecture that runs it: without windows a Mistral is a Llama."""


def body_of(folder: Path, named: str = "") -> str:
    """The architecture that runs the model of a folder, `named` so by its user. Raises UserError where vLLM is not known to
    run it."""
    kind = str(read_settings(folder, "config.json").get("model_type"))
    if kind not in BODIES:
        mend = f"vLLM scores models of the types {', '.join(BODIES)}, and this is {kind}: set verifier.engine=local"
        raise UserError.of("verifier.path", named or str(folder), mend)
    return BODIES[kind]
