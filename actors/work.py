"""What travels between driver, scheduler and replicas, and what the runtime asks of the science, as protocols.

A `Task` is one problem's prompt with every strategy it is to be solved by; an `Outcome` says how one of them ended. Nothing
here knows a label. Invariant: nothing changes any of it once it is made, and all of it is picklable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from actors.strategy import Decision, Prompt, Role, Strategy, Terms

Unit = Literal["paper", "exact"]
"""The two accountings of FLOPs: 2 x parameters a token, or every matrix product with cached prefixes free."""


@dataclass(frozen=True, slots=True)
class Task:
    """One problem to be solved by each of `strategies`, with the run seed its draws derive from.

    Strategies run together and share what they draw; `keys` names the outcome of each, in their order. It goes to a replica
    of the role that is its `home`, where the model lives that it asks most. A task that is `refused` for a reason, such as a
    prompt that fits no context, is never worked on: it ends as quarantined. Of what is made again, the run holds an answer of
    those `answered`: each is replaced by another answer alone.
    """

    id: str
    prompt: Prompt
    strategies: tuple[Strategy, ...]
    keys: tuple[str, ...]
    seed: int
    refused: str = ""
    home: Role = "policy"
    answered: frozenset[str] = frozenset()

    def replaces(self, outcome: Outcome) -> bool:
        """Whether an outcome is to stand in the run: one that came to nothing leaves an earlier answer as it is."""
        return outcome.state == "answered" or outcome.key not in self.answered


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: tokens by the role of the model that sampled or scored them, FLOPs by both accountings."""

    tokens: Mapping[Role, int] = field(default_factory=dict)
    paper: int = 0
    exact: int = 0

    def __add__(self, other: Cost) -> Cost:
        tokens = dict(self.tokens)
        for role, count in other.tokens.items():
            tokens[role] = tokens.get(role, 0) + count
        return Cost(tokens, self.paper + other.paper, self.exact + other.exact)

    @property
    def drawn(self) -> int:
        """Tokens sampled, by whichever model."""
        return sum(count for role, count in self.tokens.items() if role != "verifier")

    def of(self, role: Role) -> int:
        """Tokens of one role's model; 0 where it was not asked."""
        return self.tokens.get(role, 0)


State = Literal["answered", "unaffordable", "quarantined"]

UNPAID = "the budget ended"
"""How the reason of an outcome begins that the budget cut short, or that it did not let begin: a larger one may pay it."""

NO_CANDIDATE = f"{UNPAID} before the first candidate"
NOT_ALL = f"{UNPAID} before all candidates"


def unpaid_at(price: float) -> str:
    """Why a prompt got nothing in a run with a price."""
    return f"{NO_CANDIDATE}, at a price of {price:.3g} a FLOP"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one (problem, strategy, seed) ended. `spent` was charged for real; `attributed` is what the strategy
    would have cost alone, with an ideal cache of its own prefixes. `key` identifies it across runs.

    Of its candidates, dropped ones too, `ended` came to an end (or were cut off: `truncated`); of these `unreadable` have no
    answer, and `single_step` but one step, which is counted where steps were drawn one by one. `decisions` are those of a
    strategy that goes by a price.
    """

    key: str
    problem_id: str
    strategy: str
    seed: int
    state: State
    reason: str
    answer: str | None
    generations: int
    truncated: int
    kept_tokens: int
    spent: Cost
    attributed: Cost
    wall_seconds: float
    ended: int = 0
    unreadable: int = 0
    single_step: int = 0
    decisions: tuple[Decision, ...] = ()


class Extractor(Protocol):
    """Reads the final answer of a text (see `actors.strategy.Answer`); may block its thread."""

    def extract(self, text: str) -> str | None: ...


class Judge(Extractor, Protocol):
    """Also says whether such an answer agrees with a reference; used where labels are known, by the run writer alone."""

    def correct(self, answer: str | None, reference: str) -> bool: ...


class CostModel(Protocol):
    """What a model's tokens cost in FLOPs (integers), by both accountings."""

    def paper(self, tokens: int) -> int:
        """2 x parameters per token generated or scored."""

    def exact(self, cached: int, computed: int, logits: int) -> int:
        """Compute `computed` tokens after `cached` ones, with `logits` rows through the output head."""


def prompt_cost(verifier: CostModel, tokens: int) -> Cost:
    """What a verifier takes at worst to judge a prompt of so many tokens alone: by the paper's accounting it scores each."""
    return Cost({"verifier": tokens}, paper=verifier.paper(tokens), exact=verifier.exact(0, tokens, 0))


def writing_cost(verifier: CostModel, read: int, writes: int, chains: int) -> Cost:
    """What a judge takes at worst for one score beside the tokens that it scores: of `read` tokens and up to `writes` behind
    them in each of `chains`, drawn and read again, with nothing of it cached."""
    drawn = verifier.exact(0, read, 0) + verifier.exact(read, writes, writes)
    again = verifier.exact(0, read + writes, 1)
    tokens = chains * writes
    return Cost({"verifier": tokens}, paper=verifier.paper(tokens), exact=chains * (drawn + again))


@dataclass(frozen=True, slots=True)
class Load:
    """What the replicas of one role have done so far: `tokens` sampled or scored, `busy` seconds inside the model summed over
    replicas, how many `replicas` are up, and the `flops` that their engines reckon to have computed (0 where they do not). Of
    the solutions that a policy has `ended`, so many were `cut_off` by their token limit."""

    tokens: int = 0
    busy: float = 0.0
    replicas: int = 0
    flops: int = 0
    ended: int = 0
    cut_off: int = 0


IDLE = Load()


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of one strategy's candidates so far: of those `ended`, how many have no answer, were cut off, or have but
    one step where steps were drawn one by one."""

    ended: int = 0
    unreadable: int = 0
    truncated: int = 0
    single_step: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.ended + other.ended,
            self.unreadable + other.unreadable,
            self.truncated + other.truncated,
            self.single_step + other.single_step,
        )


def tally_of(outcome: Outcome) -> Tally:
    """One outcome's candidates."""
    return Tally(outcome.ended, outcome.unreadable, outcome.truncated, outcome.single_step)


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands, as the scheduler sees it; costs in FLOPs of the budget's accounting.

    `load` has each role that has replicas or has done something. `oldest` names the tasks longest in hand and their age in
    seconds, `waiting_for` says what is not up and why, `replicas_down` which replicas these are. `tallies` has the candidates
    of each strategy, by its text, that this scheduler has seen.
    """

    tasks_open: int
    outcomes: int
    answered: int
    unaffordable: int
    quarantined: int
    spent: int
    reserved: int
    wasted: int
    budget: int | None
    seconds: float
    load: Mapping[Role, Load] = field(default_factory=dict)
    oldest: tuple[tuple[str, float], ...] = ()
    waiting_for: str = ""
    replicas_down: tuple[str, ...] = ()
    tallies: Mapping[str, Tally] = field(default_factory=dict)

    @property
    def drawn(self) -> int:
        """Tokens sampled, by whichever model."""
        return sum(load.tokens for role, load in self.load.items() if role != "verifier")

    def of(self, role: Role) -> Load:
        """The load of one role, all zero where it has none."""
        return self.load.get(role, IDLE)


class Allocator(Protocol):
    """Says what a task may have. Pure: fed with tasks and numbers, tested with lists."""

    def first_grant(self, task: Task, free: int) -> int:
        """FLOPs to lend a task when it starts."""

    def refill(self, task: Task, asked: int, held: int, free: int) -> int | None:
        """FLOPs to lend a task that lacks `asked` and was granted `held` in all; None refuses for good, more than is `free`
        lets it wait."""


@runtime_checkable
class Pricing(Allocator, Protocol):
    """An allocator that also tells what a FLOP costs, and hears what came of it."""

    def resume(self, spent: int, ended: int) -> None:
        """Another scheduler of this start had spent so much, and so many outcomes had ended, when this one took over."""

    def charge(self, spent: int) -> None:
        """So much was charged for what no task of this scheduler took."""

    def begin(self, task: Task) -> Terms:
        """A task goes to a replica, on these terms."""

    def terms(self, task: Task) -> Terms:
        """Those of a task in hand, as they are now."""

    def end(self, task: Task, outcomes: tuple[Outcome, ...], spent: int, *, begun: bool = True) -> None:
        """A task has come to its end, and was charged so much since it was `begun`, if it ever was."""

    def lose(self, task: Task, spent: int) -> None:
        """What a task was charged came to nothing; it waits to begin again."""
