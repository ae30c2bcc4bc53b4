"""What an outcome's key is: a hash of all that could make two outcomes differ.

It knows nothing of how outcomes are made or kept. Invariant: two outcomes have one key only if nothing that could make them
differ differs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from actors.engines.identity import model_hash, tokenizer_hash
from orchestration.problems import Problem
from orchestration.setup.engine_choice import engine_identity
from orchestration.setup.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Identity:
    """All of a set-up, besides problem, strategy and seed, that can change an outcome.

    Hashes are those of files (`actors.engines.identity`), so a model that moved is the same and one that was
    retrained is not. `verifier` is empty without one.
    """

    policy: str
    tokenizer: str
    dtype: str
    verifier: str
    verifier_dtype: str
    engine: str
    verifier_engine: str
    grader: str
    prompt: str
    delimiter: str
    max_tokens: int

    @property
    def policy_salt(self) -> str:
        """All that decides a draw besides its tokens, limits and seed."""
        return _digest(self.policy, self.tokenizer, self.dtype, self.engine, self.delimiter)

    @property
    def verifier_salt(self) -> str:
        """All that decides the score of tokens besides them."""
        return _digest(self.verifier, self.verifier_dtype, self.verifier_engine, self.delimiter)


def problem_hash(problem: Problem) -> str:
    """Hash of what a problem says: id, question and reference, in hex."""
    return _digest(problem.id, problem.question, problem.answer)


def outcome_key(problem: str, strategy: str, uses_verifier: bool, seed: int, identity: Identity) -> str:
    """Hash of all that decides an outcome: problem (its hash), strategy's full text, seed and set-up, in hex.

    A strategy that asks no verifier has the same key whatever the verifier is.
    """
    setup = asdict(identity)
    if not uses_verifier:
        setup |= {"verifier": "", "verifier_dtype": "", "verifier_engine": ""}
    return _digest(problem, strategy, seed, sorted(setup.items()))


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def identify(prepared: Prepared) -> Identity:
    """Hash the models' files: seconds for large ones."""
    settings, cluster = prepared.settings, prepared.settings.cluster
    verifier, engine = "", ""
    if prepared.target is not None:
        verifier, engine = prepared.target.identity(), "own"
    elif prepared.verifier is not None:
        verifier = model_hash(prepared.verifier)
        engine = engine_identity(
            prepared.verifier_engine, gpus=cluster.verifier.gpus, device=cluster.verifier.device
        )
    policy_engine = engine_identity(
        prepared.policy_engine, gpus=cluster.policy.gpus, device=cluster.policy.device
    )
    return Identity(
        policy=model_hash(prepared.policy),
        tokenizer=tokenizer_hash(prepared.policy),
        dtype=settings.policy.dtype,
        verifier=verifier,
        verifier_dtype=settings.verifier.dtype if verifier else "",
        engine=policy_engine + ("" if settings.policy.reproducible else ", not reproducible"),
        verifier_engine=engine,
        grader=prepared.grader.version,
        prompt=json.dumps(asdict(settings.policy.prompt), ensure_ascii=False, sort_keys=True),
        delimiter=settings.policy.delimiter,
        max_tokens=settings.policy.max_tokens,
    )
