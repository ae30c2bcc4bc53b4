"""What tasks are worked on with: that of a whole run, and that of one task.

It knows no strategy and no engine's insides. Invariant: nothing starts for a task that has ended.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.engines.base import PolicyEngine, ScoreRequest, Scores, Writing
from actors.engines.verifiers.confidence import Measure
from actors.engines.verifiers.families.base import Following, Reading, Wording
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.ledger import Purpose, Purse
from actors.messages import Row
from actors.replicas.reader import ReaderPlan, TokenReader
from actors.replicas.steps import Step, StepTree
from actors.store.library import NOTHING, Prior
from actors.strategy import Prompt, Role, Sample, Sampling, Terms
from actors.work import Cost, CostModel, Unit, writing_cost

STRETCH = 2
"""Tokens of a public verifier that one of the policy's, and its part of a step's tags, are forecast to become."""

RevisionKey = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool, Sampling]
"""What tells revisions of a task apart: what stands before the solution, prefix, place, whether it is one step, and how
tokens are drawn."""

DrawKey = tuple[tuple[int, ...], tuple[int, ...], bool, Sampling]
"""What tells the draws of a task apart: prefix, place, whether it is one step, and how tokens are drawn."""


class Framing(Protocol):
    """How a reviser is shown a prompt with earlier attempts at it, in token ids."""

    def context(
        self, prompt: tuple[int, ...], attempts: Sequence[tuple[int, ...]], room: int | None = None
    ) -> tuple[int, ...]:
        """What stands before the next attempt: the last of these, in at most `room` tokens; without one, the prompt."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every task of a run is worked on with.

    `costs` has each role that the run has a model for. The `salts` stand for all of a role's set-up, but the tokens, that
    decides a draw or a score: whatever exists under the same salt is used again. `strategies` are those of all tasks,
    pickled, by their texts. `framing` is the reviser's, where there is one;
    `judging` that of a verifier which reads earlier attempts, of a context of `judged` tokens at most (None: not known).
    With `texts` the verifier is told the question and the steps as text; one of a public `family` reads tokens of its own.
    With a `measure` there is no verifier model: scores are how confident the model was that drew.
    """

    reader: ReaderPlan
    costs: Mapping[Role, CostModel]
    unit: Unit
    max_tokens: int
    likelihoods: bool = True
    salts: Mapping[Role, str] = field(default_factory=dict)
    strategies: tuple[tuple[str, bytes], ...] = ()
    framing: Framing | None = None
    judging: Framing | None = None
    judged: int | None = None
    texts: bool = False
    family: ChosenFamily | None = None
    measure: Measure | None = None

    def salt(self, role: Role) -> str:
        return self.salts.get(role, "")

    def price(self, cost: Cost) -> int:
        """FLOPs of a cost by the run's accounting."""
        return cost.paper if self.unit == "paper" else cost.exact


class Scorer(Protocol):
    """Where scores come from: a scoring engine of this process, or a stub for one elsewhere."""

    async def score(self, request: ScoreRequest) -> Scores: ...


@dataclass(frozen=True, slots=True)
class Bill:
    """What a request was charged for something that may be kept; `ids` are the tokens up to the end of what was drawn or
    scored; none for a prompt that was judged."""

    purpose: Purpose
    flops: int
    ids: tuple[int, ...] = ()


@dataclass(slots=True)
class TaskBench:
    """What the strategies of one task share: the run's bench, engines, purse, draws and scores that exist already. The
    `engine` is that of the role which is its `home`; `others` are those of further roles that can be asked from here.

    `wording` is how a verifier of a public family is shown solutions, and `readings` what it was shown.

    `running` has each request that has not ended, with how many wait for it; `bills` what those that ended well were charged.
    `terms` are what a FLOP costs now, in a run with a price.
    """

    run: Bench
    prompt: Prompt
    seed: int
    engine: PolicyEngine
    scorer: Scorer | None
    reader: TokenReader
    purse: Purse
    prior: Prior = NOTHING
    draws: dict[DrawKey, asyncio.Future[Sample]] = field(default_factory=dict)
    revisions: dict[RevisionKey, asyncio.Future[Sample]] = field(default_factory=dict)
    # the last step of a solution -> the scores of its steps
    scores: dict[Step, asyncio.Future[tuple[float, ...]]] = field(default_factory=dict)
    # how the prompt is judged -> its value; there is one way
    judged: dict[str, asyncio.Future[float]] = field(default_factory=dict)
    running: dict[asyncio.Future[Any], int] = field(default_factory=dict)
    bills: dict[asyncio.Future[Any] | None, Bill] = field(default_factory=dict)
    samples: list[Row] = field(default_factory=list)
    score_rows: list[Row] = field(default_factory=list)
    ended: bool = False
    terms: Terms | None = None
    home: Role = "policy"
    others: Mapping[Role, PolicyEngine] = field(default_factory=dict)
    wording: Wording | None = None
    # the last step of what was shown -> that, in the verifier's tokens
    readings: dict[Step, Reading] = field(default_factory=dict)
    # by the salt of scores, and what stands before the steps
    _trees: dict[tuple[str, tuple[int, ...]], StepTree] = field(default_factory=dict)

    @property
    def steps(self) -> StepTree:
        """All steps of the task's solutions; made when it is first asked for, when the prior is here."""
        return self.steps_after(self.prompt.token_ids)

    def steps_after(self, context: tuple[int, ...], drawer: Role = "policy") -> StepTree:
        """The same where something else stands before them than the prompt; where scores are the confidence of the model that
        drew, those of another `drawer` than the policy's are others."""
        salt = self.run.salt("verifier")
        if self.run.texts or self.wording is not None:
            # The prompt's tokens do not tell which part of them is the question.
            salt = f"{salt} {self.prompt.question}"
        if self.run.measure is not None and drawer != "policy":
            # The policy's files are in the verifier's salt.
            salt = f"{salt} {self.run.salt(drawer)}"
        if (salt, context) not in self._trees:
            self._trees[salt, context] = StepTree(
                self.reader, context, salt, self.prior, follows=self.follows
            )
        return self._trees[salt, context]

    def reading(self, before: tuple[int, ...], solution: tuple[int, ...], last: Step) -> Reading:
        """What the verifier reads of a solution up to its `last` step, `before` which stands this. Raises ValueError where
        that is more than a public one takes, or its tokens cannot be told apart."""
        if self.wording is None:
            start = len(before)
            return Reading(before + solution[: last.end], start, tuple(start + end for end in last.ends))
        found = self.readings.get(last)
        if found is None:
            found = self.readings[last] = self._read(self.steps_after(before).texts(solution, last), last)
        if len(found.ids) > self.wording.context:
            # Never truncated: that would be another text, and fewer steps.
            raise ValueError(
                f"question and solution are {len(found.ids):,} of the verifier's tokens, and its context is "
                f"{self.wording.context:,}{'' if self.wording.writing is None else ' without what it writes'}"
            )
        return found

    def _read(self, texts: tuple[str, ...], last: Step) -> Reading:
        assert self.wording is not None
        if not isinstance(self.wording, Following):
            return self.wording.read(self.prompt.question, texts)
        left = tuple(step.left for step in last.path())[:0:-1]
        return self.wording.read_on(self.prompt.question, texts, left)

    @property
    def whole(self) -> bool:
        """Whether the verifier writes one judgement of a solution, whatever its steps."""
        return self._writing is not None and not self._writing.stepwise

    @property
    def follows(self) -> bool:
        """Whether it reads what it wrote about the steps before a step."""
        return self._writing is not None and self._writing.stepwise

    @property
    def _writing(self) -> Writing | None:
        return None if self.wording is None else self.wording.writing

    def rows(self, reading: Reading, since: int = 0) -> int:
        """Tokens of a reading behind its first `since` that go through the verifier's head: those of the solution, or where a
        public family's scores are read."""
        if self.wording is None:
            return len(reading.ids) - max(since, reading.start)
        return sum(end > since for end in reading.ends)

    def before(self, after: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
        """What the verifier reads before a solution that was drawn after these attempts."""
        if not after or self.run.judging is None:
            return self.prompt.token_ids
        room = None if self.run.judged is None else self.run.judged - self.room("reviser")
        return self.run.judging.context(self.prompt.token_ids, after, room)

    def engine_of(self, role: Role) -> PolicyEngine:
        """The engine of a role's model. Raises ValueError where the task has none at hand."""
        if role == self.home:
            return self.engine
        if role not in self.others:
            raise ValueError(f"a task of a {self.home} replica cannot ask the {role}")
        return self.others[role]

    def room(self, role: Role) -> int:
        """Tokens that a solution of a role's model may have: the run's limit, or what the context leaves."""
        return min(self.run.max_tokens, self.engine_of(role).info.context - len(self.prompt.token_ids))

    def candidate(self, roles: Iterable[Role], *, scored: bool) -> int:
        """FLOPs that one whole candidate of one of these roles takes at worst."""
        return max(self._candidate(role, scored=scored) for role in roles)

    def _candidate(self, role: Role, *, scored: bool) -> int:
        prompt, room, cost = len(self.prompt.token_ids), self.room(role), self.run.costs[role]
        drawn = Cost(
            paper=cost.paper(room), exact=cost.exact(0, prompt - 1, 0) + cost.exact(prompt - 1, room, room)
        )
        return self.run.price(drawn) + (self.judging(room) if scored else 0)

    def judging(self, tokens: int, steps: int = 1) -> int:
        """FLOPs that the scores of a solution of so many tokens and `steps` take at worst; 0 without a verifier."""
        judge = self.run.costs.get("verifier")
        if judge is None:
            return 0
        prompt = len(self.prompt.token_ids)
        written = Cost()
        if self.wording is not None:
            # A forecast, so that a first candidate can be scored: what is reserved then is its own tokens' price.
            prompt, tokens = STRETCH * prompt, STRETCH * tokens
            if (writing := self.wording.writing) is not None:
                # Behind each step stands what was written about those before.
                texts = steps if writing.stepwise else 1
                read = prompt + tokens + (texts - 1) * writing.most
                written = writing_cost(judge, read, writing.most, texts * writing.thinking.chains)
        scored = Cost(paper=judge.paper(tokens), exact=judge.exact(0, prompt + tokens, tokens))
        return self.run.price(scored + written)

    def check_open(self) -> None:
        """Refuse what comes after `cancel`: it would be spent on no book."""
        if self.ended:
            raise RuntimeError("this task has ended")

    def bill(self, bill: Bill) -> None:
        """Note what the request that is running here was charged."""
        self.bills[asyncio.current_task()] = bill

    def book_failed(self, used: Set[asyncio.Future[Any]]) -> None:
        """Book as failed what was paid for requests that are not `used`: those of strategies that failed alone."""
        for request in [one for one in self.bills if one not in used]:
            bill = self.bills.pop(request)
            self.purse.move(bill.purpose, "kept", "failed", bill.flops)

    def book_probes(self, probes: Iterable[tuple[int, ...]], kept: Iterable[tuple[int, ...]]) -> None:
        """Book what stands in one of the `probes`, and in none of the `kept` solutions, as what difficulty took."""
        told, whole = sorted(set(probes)), sorted(set(kept))
        for request, bill in list(self.bills.items()):
            # What judged the prompt is booked so already.
            if bill.ids and _stands(bill.ids, told) and not _stands(bill.ids, whole):
                self.purse.rebook(bill.purpose, "difficulty", bill.flops)
                del self.bills[request]

    def book_pruned(self, kept: Iterable[tuple[int, ...]]) -> None:
        """Book the draws that stand in none of the `kept` solutions as pruned. (Token ids name a draw: of two that are equal
        both are kept or none.)"""
        whole = sorted(set(kept))
        for bill in self.bills.values():
            # Scores were of use for the choice, and what judged the prompt is in no solution.
            if bill.purpose in ("policy", "reviser") and not _stands(bill.ids, whole):
                self.purse.move(bill.purpose, "kept", "pruned", bill.flops)

    def cancel(self) -> None:
        """Stop whatever still runs for this task, and whatever would start; its requests are aborted."""
        self.ended = True
        for request in self.running:
            request.cancel()

    async def end(self) -> None:
        """The same, and return when what was stopped is on the purse's books."""
        running = list(self.running)
        self.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _stands(ids: tuple[int, ...], whole: list[tuple[int, ...]]) -> bool:
    """Whether one of these solutions, in order, begins so."""
    # A beginning comes right before the first solution that begins so.
    place = bisect_left(whole, ids)
    return place < len(whole) and whole[place][: len(ids)] == ids
