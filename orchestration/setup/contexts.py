"""Which prompts fit the models' contexts: decided by lengths alone, before a token is drawn.

It knows nothing of tokenizers or tasks. Invariants: a prompt that is not refused can be answered with one token at least,
and whatever is drawn after it can be scored; a limit that the user sets refuses prompts, and changes no draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actors.errors import UserError, counted
from actors.strategy import Role
from orchestration.problems.revising import Revising

STEP = 64
"""What an engine's context is a multiple of, where it is told from prompts."""

LEAST = 512
"""Tokens of a prompt that an engine takes at least: few enough to cost it little, and most questions have no more bytes."""

AROUND = 512
"""Tokens that a public verifier's wording writes around a question and its steps, at most."""


@dataclass(frozen=True, slots=True)
class Contexts:
    """`tokens` has the context of each role's model, None: unknown; `most` is what a solution may have, `limit` what a prompt
    may have with a whole solution (policy.context; None: what the models take). Up to `reads` attempts stand before a
    solution for those who read them, as their `framings` put them: a reviser, and a verifier that was trained to."""

    tokens: Mapping[Role, int | None]
    most: int
    limit: int | None = None
    framings: Mapping[Role, Revising] = field(default_factory=dict)
    reads: int = 0

    def policy_refuses(self, prompt: int) -> str:
        """Why a prompt of this many tokens is not solved at all; empty where it is."""
        if self.limit is not None and prompt + self.most > self.limit:
            return f"prompt of {prompt:,} tokens and a solution of up to {self.most:,} exceed policy.context = {self.limit:,}"
        context = self.tokens["policy"]
        if context is None or prompt < context:
            return ""
        how = "exceeds" if prompt > context else "fills"
        return f"prompt of {counted(prompt, 'token')} {how} the policy's context of {context:,}"

    def reviser_refuses(self, prompt: int) -> str:
        """Why no strategy that asks the reviser solves it; empty where they do."""
        context, need = self.tokens.get("reviser"), self.least("reviser", prompt)
        if context is None or need <= context:
            return ""
        attempt = f", an attempt and a further one of up to {self.most:,} each" if self.reads else ""
        attempt = attempt or f" and an attempt of up to {self.most:,}"
        return f"prompt of {counted(prompt, 'token')}{attempt} exceed the reviser's context of {context:,}"

    def least(self, role: Role, prompt: int) -> int:
        """Tokens that a role's model must take so that a whole solution after such a prompt has room: a reviser's with one
        attempt before it, where any is read. (A verifier judges the solution alone where no attempt has room.)"""
        if role != "reviser" or role not in self.framings:
            return prompt + self.most
        return self.framings[role].length(prompt, self.most, min(1, self.reads)) + self.most

    def longest(self, role: Role, prompt: int) -> int:
        """Tokens of the longest sequence after such a prompt."""
        if role not in self.framings:
            return prompt + self.most
        return self.framings[role].length(prompt, self.most, self.reads) + self.most

    def verifier_refuses(self, prompt: int, drawing: Role = "policy") -> str:
        """Why no strategy that asks the verifier solves it, of those for which this role draws; empty where they do."""
        policy, context = self.tokens["policy"], self.tokens.get("verifier")
        solution = self.most if policy is None or drawing != "policy" else min(self.most, policy - prompt)
        if context is None or prompt + solution <= context:
            return ""
        return (
            f"prompt of {counted(prompt, 'token')} and a solution of up to {solution:,} exceed the verifier's context of "
            f"{context:,}"
        )

    def needed(self, role: Role, longest: int, *, other_tokens: bool = False) -> int:
        """Tokens that an engine has to take where the longest prompt has so many: as many as are not refused; of a model
        with `other_tokens` than the policy's twice as many and `AROUND`, as far as it takes them."""
        own = self.limit if role not in self.framings and not other_tokens else None
        need = own or -(-self.longest(role, max(longest, LEAST)) // STEP) * STEP
        need = 2 * need + AROUND if other_tokens else need
        return min(need, self.tokens.get(role) or need)


def check_contexts(
    prompts: Sequence[int], contexts: Contexts, paths: Mapping[Role, str | None], shots: int = 0
) -> None:
    """Raise UserError where not one of these prompts (lengths in tokens, at least one) fits with a whole solution: the run
    would be of cut off or quarantined problems alone. `paths` are the models', as set, by role; `shots` worked examples are
    in every prompt."""
    shortest = min(prompts)
    _check_limit(contexts, shortest, len(prompts))
    asked, tokens = counted(len(prompts), "prompt"), counted(shortest, "token")
    for role, context in contexts.tokens.items():
        if context is None or contexts.least(role, shortest) <= context:
            continue
        if role == "reviser" and contexts.reads:
            mend = (
                f"its context of {counted(context, 'token')} cannot hold the shortest of {asked} ({shortest:,}), an attempt "
                f"and a further one of up to policy.max_tokens = {contexts.most:,} each: lower policy.max_tokens, or choose "
                "another reviser"
            )
            raise UserError.of("reviser.path", paths[role], mend)
        if shots:
            mend = (
                f"with so many examples the shortest of {asked} has {tokens}, which "
                f"with policy.max_tokens = {contexts.most:,} exceeds the {role}'s context of {context:,}; take fewer or "
                f"shorter examples, lower policy.max_tokens, or choose another {role}"
            )
            raise UserError.of("policy.prompt.shots", shots, mend)
        if shortest + 1 > context:
            mend = (
                f"its context of {counted(context, 'token')} leaves no room for a solution, even after the shortest of "
                f"{asked}, which has {shortest:,}; choose another {role}, or shorter problems"
            )
            raise UserError.of(f"{role}.path", paths[role], mend)
        mend = (
            f"with a prompt of {tokens}, the shortest of {len(prompts):,}, that exceeds the {role}'s context of "
            f"{context:,}; set policy.max_tokens to at most {context - shortest:,}, or choose another {role}"
        )
        raise UserError.of("policy.max_tokens", contexts.most, mend)


def _check_limit(contexts: Contexts, shortest: int, count: int) -> None:
    """Raise UserError where policy.context is more than the policy has, or leaves no prompt."""
    limit, own = contexts.limit, contexts.tokens["policy"]
    if limit is None:
        return
    if own is not None and limit > own:
        raise UserError.of(
            "policy.context", limit, f"the policy's own context is {own:,} tokens: set no more, or null"
        )
    if shortest + contexts.most > limit:
        mend = (
            f"the shortest of {counted(count, 'prompt')} has {shortest:,} tokens, and a solution may have "
            f"policy.max_tokens = {contexts.most:,}: set it to at least {shortest + contexts.most:,}, or lower "
            "policy.max_tokens"
        )
        raise UserError.of("policy.context", limit, mend)
