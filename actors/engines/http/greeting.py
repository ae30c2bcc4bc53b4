"""The first words with a server: which model it serves, whether its tokens are those of the folder, what it tells of them.

Two requests of one token each, charged to nobody, as an engine's own warm-up is. It knows nothing of roles or budgets.
Invariant: a server that does not read and write the folder's token ids is refused by what is wrong with it.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from actors.engines.base import GenerateRequest
from actors.engines.http.protocol import Answer, NonsenseError, ServerFailed, body, error_text
from actors.engines.plan import Server
from actors.errors import UserError, nearest

ANSWER_S = 60.0
"""Seconds that a server may take for a first word: others may be before us in its queue."""

CONNECT_S = 10.0

EVENT_BYTES = 64 << 20
"""Of one event of an answer, at most: the first repeats the prompt's ids."""

WORDS = 64
"""Tokens of the folder's vocabulary, evenly apart, that the text is made of by which tokenizers are compared."""


@dataclass(frozen=True, slots=True)
class Served:
    """A `model` by its name there, its `context` in tokens (None: not told), and whether the server tells how many tokens of
    a prompt came from its cache. `round_trip`: seconds from a word to its answer, at most."""

    model: str
    context: int | None
    tells_cached: bool
    round_trip: float = 0.0


def headers(server: Server) -> dict[str, str]:
    """What every request carries. Raises UserError where the key is not there."""
    if server.key_variable is None:
        return {}
    key = os.environ.get(server.key_variable)
    if not key:
        mend = (
            f"there is no such environment variable on {socket.gethostname()}: set it there to the server's key, before ray "
            "start where a cluster runs already"
        )
        raise UserError.of("policy.key_variable", server.key_variable, mend)
    return {"Authorization": f"Bearer {key}"}


def greet(server: Server, folder: Path, vocabulary: int, context: int | None) -> Served:
    """Get to know a server that has the model of a folder, whose config names so many tokens. ConnectionError where it is not
    there, or not yet; UserError for what will not pass."""
    timeout = httpx2.Timeout(ANSWER_S, connect=CONNECT_S)
    try:
        with httpx2.Client(headers=headers(server), timeout=timeout) as client:
            begun = time.perf_counter()
            name, told = _model(client, server)
            took = time.perf_counter() - begun
            context = min((one for one in (told, context) if one is not None), default=None)
            there = _Talk(client, server, name, vocabulary)
            text, readings = _words(folder, (context or 2 * WORDS) - 1)
            _check_tokens(there.ask((0,), text), readings, folder, name)
            ids = readings[0]
            answer = there.ask(ids, None)
            if answer.read is None or tuple(answer.read) != ids:
                raise NonsenseError("it reads other token ids than it is sent")
            return Served(name, told, answer.cached is not None, took)
    except NonsenseError as error:
        mend = (
            f"the server there does not do what flopwise needs ({error}): take vLLM, from 0.10.2 on, or another that takes "
            "token ids and gives them with return_token_ids"
        )
        raise UserError.of("policy.url", server.url, mend) from None
    except httpx2.HTTPError as error:
        raise ConnectionError(f"{server.url}: {words(error)}") from error
    except ServerFailed as error:
        raise ConnectionError(f"{server.url}: it failed at its first request: {error}") from error


def words(error: Exception) -> str:
    """What happened to a connection, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def _model(client: httpx2.Client, server: Server) -> tuple[str, int | None]:
    """The name of the model there, and its context."""
    response = client.get(f"{server.url}/models")
    _check_status(response, server, "GET /models")
    try:
        listed = response.json()["data"]
        cards = {str(one["id"]): one for one in listed}
    except (ValueError, KeyError, TypeError):
        mend = "no OpenAI-compatible server answers there (GET /models): give the address that ends in /v1"
        raise UserError.of("policy.url", server.url, mend) from None
    known = ", ".join(cards) or "none"
    if server.model is None:
        if len(cards) != 1:
            raise UserError.of("policy.model", None, f"the server at {server.url} has {known}: name one")
        name = next(iter(cards))
    else:
        name = server.model
        if name not in cards:
            mend = f"the server at {server.url} has {known}{nearest(name, cards)}"
            raise UserError.of("policy.model", name, mend)
    told = cards[name].get("max_model_len")
    return name, told if isinstance(told, int) and told > 0 else None


def _check_status(response: httpx2.Response, server: Server, what: str) -> None:
    """Raise for an answer that is none: ConnectionError where it may pass."""
    code = response.status_code
    if code == 200:
        return
    said = f"{code} {response.reason_phrase}".strip()
    if code in (401, 403):
        if server.key_variable is None:
            mend = f"the server at {server.url} asks for a key ({said}): name the environment variable that holds it"
        else:
            mend = f"the server at {server.url} refuses the key that it holds ({said})"
        raise UserError.of("policy.key_variable", server.key_variable, mend)
    if code >= 500 or code == 429:
        raise ConnectionError(f"{server.url}: {said}, {_said(response)}")
    if what.startswith("GET"):
        mend = (
            f"no OpenAI-compatible server answers there ({what}: {said}): give the address that ends in /v1"
        )
    else:
        mend = f"the server there refuses what it is asked ({what}: {said}; {_said(response)})"
    raise UserError.of("policy.url", server.url, mend)


def _said(response: httpx2.Response) -> str:
    response.read()
    try:
        return error_text(response.json())
    except ValueError:
        return " ".join(response.text.split())[:300]


@dataclass(frozen=True, slots=True)
class _Talk:
    client: httpx2.Client
    server: Server
    model: str
    vocabulary: int

    def ask(self, ids: tuple[int, ...], text: str | None) -> Answer:
        """The answer of one token to these ids, or to a text instead."""
        request = GenerateRequest(ids, 1, seed=0, temperature=0.0, likelihoods=self.server.likelihoods)
        answer = Answer(request, (), self.vocabulary)
        words = body(request, self.model, (), seeded=False, text=text)
        with self.client.stream("POST", f"{self.server.url}/completions", json=words) as response:
            _check_status(response, self.server, "POST /completions")
            try:
                for event in httpx2.EventSource(response, EVENT_BYTES):
                    answer.add(event.data)
            except httpx2.SSEError as error:
                raise NonsenseError(str(error)) from None
        if not answer.done:
            raise NonsenseError("an answer without its end")
        return answer


def _words(folder: Path, most: int) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """A text of all over a tokenizer's vocabulary, and the ids it may be read as: bare, and with what the tokenizer puts
    around it."""
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = {number for number, one in tokenizer.get_added_tokens_decoder().items() if one.special}
    ids = [one for one in range(tokenizer.get_vocab_size(with_added_tokens=True)) if one not in special]
    step = max(1, len(ids) // min(WORDS, max(1, most // 2)))
    text = tokenizer.decode(ids[::step], skip_special_tokens=False).strip() or "1"
    while len(text) > 1 and len(tokenizer.encode(text, add_special_tokens=True).ids) > most:
        text = text[: len(text) // 2].strip() or "1"
    read = (tuple(tokenizer.encode(text, add_special_tokens=own).ids) for own in (False, True))
    return text, tuple(read)


def _check_tokens(answer: Answer, readings: tuple[tuple[int, ...], ...], folder: Path, name: str) -> None:
    """Raise UserError where the server reads a text otherwise than the folder's tokenizer does."""
    if answer.read is None:
        raise NonsenseError("no ids of the prompt (choices[0].prompt_token_ids)")
    if tuple(answer.read) in readings:
        return
    here, there = readings[0], answer.read
    place = next(
        (i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there))
    )
    both = [str(one[place]) if place < len(one) else "none" for one in (there, here)]
    mend = (
        f"its tokenizer is not that of the server's model {name}: of a text of {len(here)} tokens, number {place + 1} is "
        f"{both[0]} there and {both[1]} here; copy the folder of the model that is served, or name another policy.model"
    )
    raise UserError.of("policy.path", str(folder), mend)
