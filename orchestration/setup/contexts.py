"""Which prompts fit the models' contexts: decided by lengths alone, before a token is drawn.

It knows nothing of tokenizers or tasks. Invariant: a prompt that is not refused can be answered with one token at least,
and whatever is drawn after it can be scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.errors import UserError


@dataclass(frozen=True, slots=True)
class Contexts:
    """Contexts in tokens, None: unknown, or no verifier is asked; `most` is what a solution may have."""

    policy: int | None
    verifier: int | None
    most: int

    def policy_refuses(self, prompt: int) -> str:
        """Why a prompt of this many tokens is not solved at all; empty where it is."""
        if self.policy is None or prompt < self.policy:
            return ""
        how = "exceeds" if prompt > self.policy else "fills"
        return f"prompt of {prompt:,} tokens {how} the policy's context of {self.policy:,}"

    def verifier_refuses(self, prompt: int) -> str:
        """Why no strategy that asks the verifier solves it; empty where they do."""
        solution = self.most if self.policy is None else min(self.most, self.policy - prompt)
        if self.verifier is None or prompt + solution <= self.verifier:
            return ""
        return (
            f"prompt of {prompt:,} tokens and a solution of up to {solution:,} exceed the verifier's context of "
            f"{self.verifier:,}"
        )


def check_contexts(prompts: Sequence[int], contexts: Contexts, paths: Mapping[str, str | None]) -> None:
    """Raise UserError where not one of these prompts (lengths in tokens, at least one) fits with a whole solution: the run
    would be of cut off or quarantined problems alone. `paths` are the models', as set, by kind."""
    shortest = min(prompts)
    for kind in ("policy", "verifier"):
        context: int | None = getattr(contexts, kind)
        if context is None or shortest + contexts.most <= context:
            continue
        if shortest + 1 > context:
            mend = (
                f"its context of {context:,} tokens leaves no room for a solution, even after the shortest of "
                f"{len(prompts):,} prompts, which has {shortest:,}; choose another {kind}, or shorter problems"
            )
            raise UserError.of(f"{kind}.path", paths[kind], mend)
        mend = (
            f"with a prompt of {shortest:,} tokens, the shortest of {len(prompts):,}, that exceeds the {kind}'s context of "
            f"{context:,}; set policy.max_tokens to at most {context - shortest:,}, or choose another {kind}"
        )
        raise UserError.of("policy.max_tokens", contexts.most, mend)
