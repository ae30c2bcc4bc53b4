"""What an engine is: one model on its devices, asked asynchronously, in token ids and out in token ids.

Two protocols, `PolicyEngine` and `VerifierEngine`, and the frozen values that go in and come out. It knows nothing
of strategies, problems, budgets or Ray. Invariant: an answer depends on its request alone (ids, sampling, seed),
never on what else is in the batch, up to the engine's own rounding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    # Settings and help come here too, and need no numpy.
    from actors.engines.text_ends import Watch

Finish = Literal["eos", "stop", "length"]
EngineName = Literal["local", "vllm", "http"]


class Pace(Protocol):
    """What a request's tokens are paid from, one by one."""

    @property
    def paid(self) -> bool:
        """Whether the next token may be computed."""

    def call(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when it may be paid again."""

    def drew(self) -> None:
        """One token more is there."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One sequence to continue.

    `token_ids` is the whole context, prompt first. Generation ends with the end token ("eos"), with any of
    `stop_ids` ("stop"; the stop token is part of the result), with the token in which one of `watches` sees a text complete
    (by the watch's name for it) or after `max_tokens` new tokens ("length").
    `temperature` 0 is greedy. `extend` says that the result may be continued, so its keys and values are worth keeping. Of
    requests that wait, the one of the lowest `priority` is next. An engine that is `paced` computes nothing while the
    `pace` of a request is not paid. Of the tokens `asked` the local engine, and no other, tells how likely each was to be the
    first new one; and with `certainty`, how far each token's distribution was from the uniform one.
    """

    token_ids: tuple[int, ...]
    max_tokens: int
    seed: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()
    watches: tuple[Watch, ...] = ()
    extend: bool = False
    priority: int = 0
    likelihoods: bool = True
    pace: Pace | None = field(default=None, compare=False, repr=False)
    asked: tuple[int, ...] = ()
    certainty: bool = False

    def finish_of(self, tokens: Sequence[int], eos_ids: tuple[int, ...]) -> Finish:
        """Why it ended with these new tokens: an end of the solution comes before an end of a step."""
        last = tokens[-1]
        seen = {watch.finish for watch in self.watches if watch.ended(tokens)}
        if last in eos_ids or "eos" in seen:
            return "eos"
        return "stop" if last in self.stop_ids or "stop" in seen else "length"

    def check(self, context: int) -> None:
        """Raise ValueError where a model of that context cannot take it."""
        if not self.token_ids:
            raise ValueError("a request needs at least one context token")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens = {self.max_tokens}: at least 1")
        if len(self.token_ids) + self.max_tokens > context:
            raise ValueError(
                f"{len(self.token_ids)} context tokens and {self.max_tokens} new ones exceed the model's context of {context}"
            )


class Aborted(asyncio.CancelledError):
    """A request was cancelled. It drew `drawn` tokens and computed `prefilled` of its context, at most."""

    def __init__(self, drawn: int, prefilled: int) -> None:
        super().__init__()
        self.drawn, self.prefilled = drawn, prefilled


@dataclass(frozen=True, slots=True)
class Generation:
    """New tokens only. `logprobs` are natural logs under the model at temperature 1: one a token, or none at all where the
    request went without `likelihoods`.

    `prefilled` counts the context tokens that had to be computed for this request (the rest came from a cache), `beyond` the
    tokens that may have been drawn after the end, at most, before the engine heard of it. `told` are the log-probabilities of
    the tokens `asked`, `certainties` the divergence from the uniform distribution to the model's at temperature 1 where each
    token was drawn (nats, 0 and above), where they were asked for.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish
    prefilled: int
    beyond: int = 0
    told: tuple[float, ...] = ()
    certainties: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a judge writes before its verdict: `chains` texts of up to `tokens` each, drawn at a `temperature` (0: greedy)."""

    tokens: int
    temperature: float = 0.0
    chains: int = 1


@dataclass(frozen=True, slots=True)
class Writing:
    """What a judge does with what it has read: it writes, as `thinking` says, up to one of the texts `stops`, and reads
    `then`, behind which its score stands. It judges all that it has read at once, or the last step alone (`stepwise`), and
    reads then what it wrote about the steps before."""

    thinking: Thinking
    stops: tuple[str, ...]
    then: tuple[int, ...]
    stepwise: bool = False

    @property
    def most(self) -> int:
        """Tokens behind what is read in one chain, at most."""
        return self.thinking.tokens + len(self.then)


@dataclass(frozen=True, slots=True)
class Written:
    """One chain of a judge: `drawn` tokens, the first `kept` of which stand before the verdict. Of the context, without its
    last token, `prefilled` tokens had to be computed to draw, and `again` to read the verdict."""

    drawn: int
    kept: int
    prefilled: int
    again: int


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A context (prompt, then solution) and where its steps end: offsets into `token_ids`, exclusive, ascending; none where
    the prompt alone is to be judged.

    `whole`: compute all of it, whatever a cache holds. It is asked for where an answer had no scores. A verifier of a user's
    own is told the bare `question` and the text of each of the `steps` too; others are told neither. A judge goes on with the
    `writing`, and gives one score, for all that it has read.
    """

    token_ids: tuple[int, ...]
    prompt_length: int
    step_ends: tuple[int, ...]
    whole: bool = False
    question: str = ""
    steps: tuple[str, ...] = ()
    writing: Writing | None = None

    def check(self, context: int) -> None:
        """Raise ValueError where its offsets contradict one another, or exceed the verifier's context."""
        ends = self.step_ends
        if not 0 < self.prompt_length <= len(self.token_ids):
            raise ValueError(f"prompt_length = {self.prompt_length}: between 1 and the number of tokens")
        if list(ends) != sorted(set(ends)) or (ends and ends[-1] > len(self.token_ids)):
            raise ValueError(f"step_ends = {ends}: ascending offsets within the tokens")
        if ends and ends[0] <= self.prompt_length:
            raise ValueError(
                f"step_ends = {ends}: a step ends after the prompt's {self.prompt_length} tokens"
            )
        last = ends[-1] if ends else self.prompt_length
        last += 0 if self.writing is None else self.writing.most
        if last > context:
            # Never truncated: dropping tokens would score another text (and fewer steps).
            raise ValueError(f"{last} tokens exceed the verifier's context of {context}")


@dataclass(frozen=True, slots=True)
class Scores:
    """One value in [0, 1] a step, in order; none at all where more came from a cache than scores could be told from, so that
    the request must be made again, `whole`.

    `computed` counts the tokens of the request that it made the engine compute, at most all of them. `prompt` is the value of
    the prompt alone, before any step; None where the verifier does not judge one. `written` are the chains of a judge that
    writes, whose `computed` leaves out what it wrote; of one that judges `stepwise`, `left` are the tokens that its first
    chain leaves to the next step: what stands before the verdict, what was read then, and the verdict.
    """

    values: tuple[float, ...]
    computed: int
    prompt: float | None = None
    written: tuple[Written, ...] = ()
    left: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What identifies a loaded model, and what it can take."""

    model: str
    model_hash: str
    tokenizer_hash: str
    engine: str
    dtype: str
    context: int
    vocabulary: int
    eos_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EngineCounters:
    """Totals since the engine started; `busy_seconds` is time spent inside the model.

    `flops` is the engine's own reckoning of what it computed, 0 where it has none: a second opinion on the ledger. Of the
    solutions that a policy has `ended`, so many were `cut_off` by their token limit.
    """

    tokens_out: int
    tokens_computed: int
    busy_seconds: float
    running: int
    flops: int = 0
    ended: int = 0
    cut_off: int = 0


class EngineError(RuntimeError):
    """A step of the engine failed. What it holds is unknown since: its process should give way to a fresh one."""


class AnswerLost(RuntimeError):
    """The answer to a request did not arrive, though it may have been computed to its end: it is paid in full, and asked for
    again."""


class PolicyEngine(Protocol):
    """A language model that continues sequences, many at once."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def slots(self) -> int:
        """How many sequences run at once; more requests than that wait their turn."""

    @property
    def paced(self) -> bool:
        """Whether it tells each token as it is drawn, and waits where the next is not paid."""

    async def generate(self, request: GenerateRequest) -> Generation:
        """Continue one sequence; cancelling the awaiting task aborts it.

        Raises ValueError where context and `max_tokens` together exceed the model's context.
        """

    def counters(self) -> EngineCounters: ...

    async def close(self) -> None: ...


class VerifierEngine(Protocol):
    """A process reward model: a value per step, computing only what is new."""

    @property
    def info(self) -> EngineInfo: ...

    async def score(self, request: ScoreRequest) -> Scores: ...

    def counters(self) -> EngineCounters: ...

    async def close(self) -> None: ...
