"""What is sent to a server for a request, and what its answer means, piece by piece: completions of OpenAI's protocol, with
vLLM's `return_token_ids`.

It knows nothing of connections. Invariants: every setting that a server may have defaults for is sent, so that none of its
own counts; and an answer that is not wholly what was asked for is never taken.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from actors.engines.base import GenerateRequest

INTERVAL = 8
"""Tokens that a server may gather before it tells them, where nothing is looked for in them. (vLLM heeds `stream_interval`; a
server that does not tells each.)"""

_NEUTRAL: dict[str, Any] = {
    # A model's generation_config.json sets some of them on vLLM.
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "min_tokens": 0,
    "n": 1,
    "add_special_tokens": False,
    # The end tokens that count here are among stop_token_ids.
    "ignore_eos": True,
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}


class NonsenseError(Exception):
    """The server answers something that is no answer to what it was asked."""


class ServerFailed(Exception):
    """The server says within an answer that it failed."""


def ends_by_id(request: GenerateRequest, eos_ids: Sequence[int]) -> tuple[int, ...]:
    """The tokens that end a request whatever came before them: those that the server is told."""
    always = (token for watch in request.watches for token in watch.texts.always)
    return tuple(dict.fromkeys([*request.stop_ids, *eos_ids, *always]))


def looks(request: GenerateRequest) -> bool:
    """Whether a text may end it that no one token always completes, so that it is looked for here."""
    return any(not watch.texts.by_token for watch in request.watches)


def body(
    request: GenerateRequest, model: str, ends: Sequence[int], *, seeded: bool, text: str | None = None
) -> dict[str, Any]:
    """The JSON of a request; with a `text`, of one for that text instead of the request's ids."""
    more: dict[str, Any] = {"stream_interval": 1 if looks(request) else INTERVAL}
    if seeded and request.temperature:
        more["seed"] = request.seed
    if request.likelihoods:
        more["logprobs"] = 0
    return {
        "model": model,
        "prompt": list(request.token_ids) if text is None else text,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_token_ids": list(ends),
        **_NEUTRAL,
        **more,
    }


class Answer:
    """What has come of an answer so far. `add` takes the data of its events in their order; `done` once its last is there.

    `read` are the ids that the server read, `cached` of them those that it says it had in its cache (None: it does not say).
    `seen` says that a text was complete that is looked for here, after which more may have come: `over` tokens.
    """

    def __init__(self, request: GenerateRequest, ends: Sequence[int], vocabulary: int) -> None:
        self._request, self._ends, self._vocabulary = request, frozenset(ends), vocabulary
        self._watched = [(watch.texts, watch.state) for watch in request.watches]
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.read: list[int] | None = None
        self.cached: int | None = None
        self.seen = self.done = False
        self.over = 0
        self._ended = ""

    def add(self, data: str) -> None:
        """Raises ServerFailed, and NonsenseError for what is no part of an answer to the request."""
        if data == "[DONE]":
            if not self._ended:
                raise NonsenseError("an answer without its end")
            self.done = True
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise NonsenseError(f"no JSON: {data[:80]!r}") from None
        if not isinstance(event, dict):
            raise NonsenseError(f"no answer: {data[:80]!r}")
        if event.get("error"):
            raise ServerFailed(error_text(event))
        for choice in event.get("choices") or ():
            self._take(choice)
        usage = event.get("usage") or {}
        if (details := usage.get("prompt_tokens_details")) is not None:
            self.cached = _whole(details.get("cached_tokens") or 0, "cached_tokens")

    def _take(self, choice: Any) -> None:
        if not isinstance(choice, dict) or choice.get("index", 0) != 0 or self._ended:
            raise NonsenseError(f"another choice than was asked for: {str(choice)[:80]}")
        if (read := choice.get("prompt_token_ids")) is not None and self.read is None:
            self.read = [_whole(one, "prompt_token_ids") for one in read]
        new = choice.get("token_ids")
        if new is None:
            raise NonsenseError("no token ids (choices[0].token_ids)")
        likelihoods = (choice.get("logprobs") or {}).get("token_logprobs") or []
        if self._request.likelihoods and len(likelihoods) != len(new):
            raise NonsenseError(f"{len(likelihoods)} likelihoods of {len(new)} tokens (logprobs)")
        for place, token in enumerate(new):
            if not 0 <= _whole(token, "token_ids") < self._vocabulary:
                raise NonsenseError(f"token {token} of a model that has {self._vocabulary:,}")
            if self.seen:
                self.over += 1
                continue
            if self.tokens and self.tokens[-1] in self._ends:
                raise NonsenseError(f"it went on after token {self.tokens[-1]}, with which the request ends")
            self.tokens.append(token)
            if self._request.likelihoods:
                self.logprobs.append(_number(likelihoods[place]))
            self._look(token)
        if len(self.tokens) + self.over > self._request.max_tokens:
            raise NonsenseError(f"more than the {self._request.max_tokens:,} tokens that it may have")
        if ended := choice.get("finish_reason"):
            self._end(ended)

    def _look(self, token: int) -> None:
        told = [(texts, *texts.next(state, token)) for texts, state in self._watched]
        self._watched = [(texts, state) for texts, state, _ in told]
        # With a token that the server knows it ends the answer itself, and tells what it took.
        self.seen = token not in self._ends and any(hit for _, _, hit in told)

    def _end(self, reason: str) -> None:
        self._ended = reason
        if self.seen:
            return
        if not self.tokens or reason not in ("stop", "length"):
            raise ServerFailed(f"it ended an answer of {len(self.tokens)} tokens: {reason}")
        known = self.tokens[-1] in self._ends
        if not known and len(self.tokens) != self._request.max_tokens:
            raise NonsenseError(
                f"it ended an answer with token {self.tokens[-1]}, which ends nothing here: its stop tokens are not those of "
                "policy.path"
            )


def error_text(event: Any) -> str:
    """What a server says is wrong, in one line."""
    told = event.get("error", event) if isinstance(event, dict) else event
    words = told.get("message", told) if isinstance(told, dict) else told
    return " ".join(str(words).split())[:300]


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise NonsenseError(f"{name} has {value!r}, which is no number of a token")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise NonsenseError(f"a likelihood {value!r}")
    return float(value)
