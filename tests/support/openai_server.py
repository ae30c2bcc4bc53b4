"""A small OpenAI-compatible server of token ids in a process of its own: the local engine behind HTTP, as vLLM's server would
be, and told to misbehave where a test wants that.

    python -m tests.support.openai_server

It prints its port. `POST /control` with a name and a folder serves that folder's model at /NAME/v1; with `faults` each says
what becomes of one of its next completions. Everything but the faults is real: models generate, tokenizers read.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from actors.engines.base import GenerateRequest, Generation
from actors.engines.local.policy import LocalEngine

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    500: "Internal Server Error",
    503: "Busy",
}


@dataclass
class Model:
    """A model under its name. `hides_cached`: it does not tell what came from its cache. `wants` is the key that it asks for,
    `tokenizer` the folder of another tokenizer than the model's. `asked` has the bodies of completions that it was sent."""

    name: str
    engine: LocalEngine
    tokenizer: Tokenizer
    hides_cached: bool = False
    wants: str | None = None
    served: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)


class Drawn:
    """The pace of a request that is never made to wait. It notes what is drawn between two steps, for a step on its way
    changes that: a request that goes on has never all of its tokens here."""

    def __init__(self, engine: LocalEngine) -> None:
        self.paid = True
        self.news = asyncio.Event()
        self.there = Generation((), (), "length", 0)
        self._engine = engine

    def call(self, wake: Callable[[], None]) -> None:
        """It is always paid."""

    def drew(self) -> None:
        job = next(one for one in self._engine._running if one.request.pace is self)
        self.there = Generation(tuple(job.tokens), tuple(job.logprobs), "length", 0)
        self.news.set()


MODELS: dict[str, Model] = {}


def control(told: dict[str, Any]) -> dict[str, Any]:
    name = told.pop("name")
    if (folder := told.pop("folder", None)) is not None:
        words = Tokenizer.from_file(str(Path(told.pop("tokenizer", None) or folder) / "tokenizer.json"))
        MODELS[name] = Model(name, LocalEngine.load(Path(folder)), words, served=[name])
    for key, value in told.items():
        setattr(MODELS[name], key, value)
    return {"asked": MODELS[name].asked}


async def pieces(
    engine: LocalEngine, request: GenerateRequest, every: int
) -> AsyncIterator[tuple[Generation, bool]]:
    """What is there of a request, every so many tokens; then what it gave, which is its last."""
    assert isinstance(request.pace, Drawn)
    drawing = asyncio.ensure_future(engine.generate(request))
    told = 0
    try:
        while not drawing.done():
            news = asyncio.ensure_future(request.pace.news.wait())
            await asyncio.wait({drawing, news}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            request.pace.news.clear()
            there = request.pace.there
            if not drawing.done() and len(there.token_ids) >= told + every:
                told = len(there.token_ids)
                yield there, False
        yield drawing.result(), True
    finally:
        drawing.cancel()


async def events(model: Model, body: dict[str, Any], fault: str) -> AsyncIterator[str]:
    """The data of an answer's events."""
    ids, end = body["ids"], set(body.get("stop_token_ids") or ())
    request = GenerateRequest(
        token_ids=tuple(ids),
        max_tokens=body.get("max_tokens", 16),
        seed=body.get("seed") if body.get("seed") is not None else random.getrandbits(62),
        temperature=body.get("temperature", 1.0),
        top_p=body.get("top_p", 1.0),
        stop_ids=tuple(body.get("stop_token_ids") or ()),
        extend=True,
        pace=Drawn(model.engine),
    )
    told = 0
    async for one, last in pieces(model.engine, request, body.get("stream_interval", 1)):
        stopped = one.finish == "eos" or one.token_ids[-1] in end
        finish = ("stop" if stopped else "length") if last else None
        new = list(one.token_ids[told:])
        choice: dict[str, Any] = {"index": 0, "text": model.tokenizer.decode(new), "finish_reason": finish}
        if body.get("logprobs") is not None:
            choice["logprobs"] = {
                "tokens": [f"token_id:{i}" for i in new],
                "token_logprobs": list(one.logprobs[told:]),
            }
        if body.get("return_token_ids") and fault != "no_ids":
            choice["token_ids"] = new
            if not told:
                choice["prompt_token_ids"] = [*ids[:-1], ids[-1] + 1] if fault == "other_ids" else ids
        told = len(one.token_ids)
        yield json.dumps({"choices": [choice]})
        if fault == "cut":
            return
        if fault == "hang":
            await asyncio.sleep(3600)
    usage: dict[str, Any] = {"prompt_tokens": len(ids), "completion_tokens": told}
    if not model.hides_cached:
        usage["prompt_tokens_details"] = {"cached_tokens": len(ids) - 1 - one.prefilled}
    yield json.dumps({"choices": [], "usage": usage})
    yield "[DONE]"


class Connection:
    """One client: its requests one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def serve(self) -> None:
        try:
            while True:
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = {
                    key.lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:])
                }
                data = await self._reader.readexactly(int(fields.get("content-length", 0)))
                method, path, _ = head[0].split(" ")
                await self._answer(method, path, fields, data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writer.close()

    async def _answer(self, method: str, path: str, fields: dict[str, str], data: bytes) -> None:
        if path == "/control":
            await self._whole(200, control(json.loads(data)))
            return
        name, _, rest = path.strip("/").partition("/")
        model = MODELS.get(name)
        if model is None:
            await self._whole(404, {"detail": "Not Found"})
        elif model.wants is not None and fields.get("authorization") != f"Bearer {model.wants}":
            await self._whole(401, {"error": {"message": "Unauthorized"}})
        elif (method, rest) == ("GET", "v1/models"):
            context = model.engine.info.context
            await self._whole(200, {"data": [{"id": one, "max_model_len": context} for one in model.served]})
        elif (method, rest) == ("POST", "v1/completions"):
            await self._complete(model, json.loads(data))
        else:
            await self._whole(404, {"detail": "Not Found"})

    async def _complete(self, model: Model, body: dict[str, Any]) -> None:
        fault = model.faults.pop(0) if model.faults else ""
        model.asked.append(dict(body))
        prompt = body["prompt"]
        if isinstance(prompt, str):
            prompt = model.tokenizer.encode(
                prompt, add_special_tokens=body.get("add_special_tokens", True)
            ).ids
        body["ids"] = prompt
        if fault.isdecimal():
            await self._whole(int(fault), {"error": {"message": f"told to fail with {fault}"}})
            return
        if body["model"] not in model.served:
            await self._whole(404, {"error": {"message": f"no model {body['model']}"}})
            return
        if len(prompt) + body.get("max_tokens", 16) > model.engine.info.context:
            await self._whole(400, {"error": {"message": "longer than the context"}})
            return
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._writer.write(head.encode())
        if fault == "garbage":
            await self._chunk("data: {no json\n\n")
        else:
            sending = asyncio.ensure_future(self._send(model, body, fault))
            # Whoever goes away wants no more of it.
            gone = asyncio.ensure_future(self._reader.read(1))
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                sending.cancel()
                raise ConnectionError
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            sending.result()
        if fault == "cut":
            raise ConnectionError
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def _send(self, model: Model, body: dict[str, Any], fault: str) -> None:
        async for data in events(model, body, fault):
            await self._chunk(f"data: {data}\n\n")

    async def _chunk(self, text: str) -> None:
        data = text.encode()
        self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self._writer.drain()

    async def _whole(self, code: int, value: Any) -> None:
        data = json.dumps(value).encode()
        head = [
            f"HTTP/1.1 {code} {REASONS.get(code, '-')}",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
        ]
        self._writer.write("\r\n".join([*head, "", ""]).encode() + data)
        await self._writer.drain()


async def main(port: int) -> None:
    torch.set_num_threads(1)
    server = await asyncio.start_server(
        lambda r, w: Connection(r, w).serve(), "127.0.0.1", port, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # It ends with whoever started it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
