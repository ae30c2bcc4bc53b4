"""What a training with earlier attempts is made for: the format in the ids of a policy, and the room of a model.

It knows nothing of data or of losses. Invariant: what it says of a model holds wherever the model serves.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from actors.engines.end_tokens import end_ids
from actors.engines.model_config import read_config
from actors.engines.positions import steady_context
from actors.errors import counted
from orchestration.problems.revising import Revising, RevisionFormat
from orchestration.setup.prepare import Prepared


def bound_format(format: RevisionFormat, prepared: Prepared) -> Revising:
    """The format in the ids of the policy that is sampled. Raises UserError where its tokenizer cannot have it."""
    from transformers import AutoTokenizer

    policy = prepared.policy
    tokenizer = AutoTokenizer.from_pretrained(
        policy.tokenizer, local_files_only=True, trust_remote_code=False
    )
    ends = end_ids(policy.path, read_config(policy.path))
    return format.bind(tokenizer, ends, chat=prepared.prompt.chat, chat_options=prepared.prompt.chat_options)


def context_of(folder: Path) -> int:
    """Tokens that a model reads at most."""
    config = read_config(folder)
    return steady_context(config) or int(config.max_position_embeddings)


def lack_of_room(
    revising: Revising, prompts: Collection[tuple[int, ...]], max_tokens: int, context: int
) -> str:
    """What to say of a context that cannot hold the shortest prompt, one attempt and an answer of max_tokens each, with which
    no attempt could ever be revised; empty where it holds them."""
    shortest = min(map(len, prompts))
    needed = revising.length(shortest, max_tokens, 1) + max_tokens
    if needed <= context:
        return ""
    return (
        f"the shortest prompt ({counted(shortest, 'token')}), one attempt and an answer of {max_tokens:,} tokens each need "
        f"{needed:,}, and the policy's context is {context:,}"
    )
