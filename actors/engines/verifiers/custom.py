"""Verifiers of a user's own: a class or function, named by its path, that gives an object with `async score`.

It knows nothing of what such an object does inside. Invariant: what it gave is checked, request by request, so that a score
which is none (too few, NaN, out of [0, 1]) is an error with the verifier's name, never a number.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from actors.engines import start_clock
from actors.engines.base import EngineCounters, EngineInfo, ScoreRequest, Scores, VerifierEngine
from actors.engines.busy import Busy
from actors.engines.identity import files_hash, tokenizer_hash
from actors.errors import UserError, counted
from actors.targets import check_arguments, imported, parameters

OFFERED = ("path", "tokenizer", "device", "dtype", "threads")
"""What a target is handed besides its options, where its signature names it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What makes a verifier: `name`, the path of a class or function, is called with `options` (JSON, keys sorted).

    `path` holds what it loads, None: nothing; `tokenizer` is the policy's folder, whose token ids it scores; `parameters`
    are those that a user says it has (2 FLOPs each per token scored), None where `path` says it.
    """

    name: str
    options: str
    path: Path | None
    tokenizer: Path
    parameters: int | None = None

    @property
    def text(self) -> str:
        """For people: all that it is set by."""
        given = dict(json.loads(self.options))
        if self.path is not None:
            given["path"] = str(self.path)
        if self.parameters is not None:
            given["parameters"] = self.parameters
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in given.items())})"

    def check(self) -> None:
        """Raise UserError unless it can be imported and called with what it will be."""
        maker, options = imported("verifier._target_", self.name, self.name), json.loads(self.options)
        if clash := [key for key in options if key in OFFERED]:
            mend = f"it is set by cluster.verifier.{clash[0]}, not here"
            if clash[0] == "tokenizer":
                mend = "it is the policy's, which its tokens come from"
            raise UserError.of(f"verifier.{clash[0]}", options[clash[0]], mend)
        # Whoever names a path wants it used: it is given even where it is not asked for, and told then.
        given = {*options, *self._taken(maker)} - {"path"}
        given |= set() if self.path is None else {"path"}
        check_arguments("verifier._target_", self.name, self.name, maker, given, "verifier.{}=...")

    def identity(self) -> str:
        """Hash, in hex, of all that decides its scores and what they cost: name, `version`, options, parameters, the files
        below `path` and the policy's tokenizer."""
        maker = imported("verifier._target_", self.name, self.name)
        version: object = getattr(maker, "version", None)
        if version is not None and not isinstance(version, str | int):
            raise UserError.of(
                "verifier._target_", self.name, f"its version must be a text or a number, not {version!r}"
            )
        files = None if self.path is None else files_hash(self.path)
        parts = [self.name, version, self.options, self.parameters, files, tokenizer_hash(self.tokenizer)]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def _taken(self, maker: Any) -> set[str]:
        """Of what is offered, what the signature names."""
        return {one.name for one in parameters(maker) or () if one.kind != one.VAR_KEYWORD}.intersection(
            OFFERED
        )

    def make(self, *, device: str, dtype: str, threads: int) -> object:
        """Call it."""
        maker = imported("verifier._target_", self.name, self.name)
        offered = {
            "path": self.path,
            "tokenizer": self.tokenizer,
            "device": device,
            "dtype": dtype,
            "threads": threads,
        }
        taken = self._taken(maker) - ({"path"} if self.path is None else set())
        return maker(**json.loads(self.options), **{name: offered[name] for name in taken})


class Scorer(Protocol):
    """A verifier of a user's own: what a target gives. It may have `counters() -> EngineCounters` and `async close()` too, as
    `VerifierEngine` describes them."""

    async def score(self, request: ScoreRequest) -> Scores: ...


class CustomVerifier:
    """A `VerifierEngine` around a user's object."""

    def __init__(self, scorer: Scorer, info: EngineInfo) -> None:
        self._scorer, self._info = scorer, info
        self._computed = 0
        self._busy = Busy()

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def score(self, request: ScoreRequest) -> Scores:
        with self._busy:
            scores = checked(self._info.model, request, await self._scorer.score(request))
        self._computed += scores.computed
        return scores

    def counters(self) -> EngineCounters:
        """The object's own where it has them; else tokens count once their request has been answered."""
        own = getattr(self._scorer, "counters", None)
        if own is not None:
            counters: EngineCounters = own()
            return counters
        return EngineCounters(0, self._computed, self._busy.seconds, self._busy.running)

    async def close(self) -> None:
        own = getattr(self._scorer, "close", None)
        if own is not None:
            await own()


def checked(name: str, request: ScoreRequest, scores: object) -> Scores:
    """The scores with plain numbers. Raises ValueError for what cannot stand as the scores of this request."""
    if not isinstance(scores, Scores):
        raise ValueError(f"{name} gave {type(scores).__name__} and not Scores")
    values = tuple(float(value) for value in scores.values)
    if len(values) != len(request.step_ends):
        raise ValueError(
            f"{name} gave {counted(len(values), 'score')} for {counted(len(request.step_ends), 'step')}"
        )
    if wrong := [value for value in values if not 0 <= value <= 1]:
        raise ValueError(f"{name} gave the score {wrong[0]!r}, which is not in [0, 1]")
    computed = int(scores.computed)
    if not 0 <= computed <= len(request.token_ids):
        raise ValueError(
            f"{name} says that it computed {computed} of {counted(len(request.token_ids), 'token')}"
        )
    prompt = None if scores.prompt is None else float(scores.prompt)
    if prompt is not None and not 0 <= prompt <= 1:
        raise ValueError(f"{name} gave the prompt the score {prompt!r}, which is not in [0, 1]")
    return Scores(values, computed, prompt)


def load_custom(target: Target, *, device: str, dtype: str, threads: int) -> VerifierEngine:
    """Make a target's verifier on this machine. Raises UserError where it cannot be, or gives none; what the target itself
    raises is as it is."""
    try:
        with start_clock.standing():
            identity = target.identity()
    except UserError as error:
        raise UserError(f"{error} (on {socket.gethostname()})") from None
    scorer: Any = target.make(device=device, dtype=dtype, threads=threads)
    if not inspect.iscoroutinefunction(getattr(scorer, "score", None)):
        mend = f"it gives no verifier: {type(scorer).__name__} has no async score(request)"
        raise UserError.of("verifier._target_", target.name, mend)
    info = EngineInfo(
        model=target.name,
        model_hash=identity,
        tokenizer_hash=tokenizer_hash(target.tokenizer),
        engine="custom",
        dtype=dtype,
        context=0,
        vocabulary=0,
        eos_ids=(),
    )
    return CustomVerifier(scorer, info)
