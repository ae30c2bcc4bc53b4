"""What a strategy is, what it is handed, what it answers, and what else it may say of itself.

A `Strategy` is handed a `Prompt` and `Models`, and gives a `Solution`. To have its four members is enough. One that is
`Forecasting` also tells a dry run what it needs, one that is `Grouped` tells a report where it belongs; either goes without
the other. Nothing here knows a label: what a strategy sees is a prompt. Invariant: all that crosses processes is immutable
and picklable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from actors.engines.base import Finish

Role = Literal["policy", "reviser", "verifier"]
"""What a model does in a run. Whatever exists for each model stands in a mapping by its role."""

ROLES: tuple[Role, ...] = get_args(Role)


class PurseEmpty(Exception):
    """The budget allows no further request of this size; a strategy answers with what it has."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem as the models see it: a stable id and the token ids of its prompt.

    `question` is the bare text of it, where the run's verifier reads texts; empty in every other run.
    """

    id: str
    token_ids: tuple[int, ...]
    question: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 is greedy."""

    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A drawn continuation: its tokens, their log-probabilities at temperature 1 (none in a run that goes without), and why
    it ended.

    "stop" means: ended with the step delimiter, so it can go on; "eos": the solution is complete; "length": cut off. Where a
    run measures it, `certainties` say of each token how far the model's distribution was from the uniform one, in nats.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish
    certainties: tuple[float, ...] = ()


class Answer(str):
    """A final answer as text that also says whom it votes with: those of one `ballot`, however they are written.

    An answer that is a plain text votes with those that read the same.
    """

    __slots__ = ("ballot",)

    def __new__(cls, text: str, ballot: str) -> Answer:
        answer = super().__new__(cls, text)
        answer.ballot = ballot
        return answer

    ballot: str

    def __reduce__(self) -> tuple[type[Answer], tuple[str, str]]:
        return Answer, (str(self), self.ballot)


def ballot_of(answer: str) -> str:
    """The ballot that an answer votes with."""
    # In a ballot a tab parts what is said (`graders.ballots`); in a plain text it is a letter.
    return answer.ballot if isinstance(answer, Answer) else answer.replace("\t", "\\t")


class PolicyClient(Protocol):
    """The policy as a strategy sees it: metered, seeded by place, shared between strategies of one problem."""

    @property
    def max_tokens(self) -> int:
        """Tokens a whole solution may have."""

    async def sample(
        self,
        prefix: tuple[int, ...],
        place: tuple[int, ...],
        *,
        one_step: bool = False,
        sampling: Sampling = Sampling(),
    ) -> Sample:
        """Continue prompt + `prefix` to the end of the solution, or to the end of one step.

        `place` is the draw's place in the tree (child indices from the root): with the sampling parameters it decides
        the seed, so the same place always draws the same tokens, and a second strategy that asks for it gets the sample
        that exists. Raises PurseEmpty where the budget does not allow the request's worst case.
        """


class ReviserClient(Protocol):
    """The reviser as a strategy sees it: it draws solutions that may be better than earlier attempts which it reads."""

    @property
    def max_tokens(self) -> int:
        """Tokens a whole solution may have."""

    async def revise(
        self,
        attempts: tuple[tuple[int, ...], ...],
        place: tuple[int, ...],
        *,
        sampling: Sampling = Sampling(),
        prefix: tuple[int, ...] = (),
        one_step: bool = False,
    ) -> Sample:
        """Draw an attempt after reading these `attempts`, oldest first; of too many for its context the oldest are left out.
        With none, it reads the prompt alone. It goes on from `prefix`, which has begun it, to the end of the solution, or to
        the end of one step.

        `place` decides the seed, as in `PolicyClient.sample`. Raises PurseEmpty where the budget does not allow the
        request's worst case.
        """


class VerifierClient(Protocol):
    """The process reward model as a strategy sees it."""

    async def score(
        self, solution: tuple[int, ...], after: tuple[tuple[int, ...], ...] = ()
    ) -> tuple[float, ...]:
        """Return one value in [0, 1] per non-empty step of `solution` (tokens after the prompt), () if it has none.

        `after` are the earlier attempts that it was drawn after: a verifier that was trained to read them does, others judge
        the solution alone. Steps that were scored before cost nothing. Raises PurseEmpty like `sample`.
        """

    async def prompt_value(self) -> float:
        """Return the value of the prompt alone, before any step: the chance, in [0, 1], that a sample of it is right.

        What is known of a prompt costs nothing again. Raises PurseEmpty like `sample`; a verifier that was not trained to
        judge a prompt fails the strategy.
        """


class Reader(Protocol):
    """Turns tokens into text, steps and the final answer."""

    def step_ends(self, solution: tuple[int, ...]) -> tuple[int, ...]:
        """Offsets (exclusive) where the non-empty steps of a solution end; a lone end token is no step."""

    async def answer(self, solution: tuple[int, ...]) -> str | None:
        """The final answer (see `Answer`), or None where none can be read; such a candidate never votes."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a FLOP costs a task now: its `price`, in chances of a right answer. With a `floor` the first sample is no matter
    of price."""

    price: float
    floor: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a prompt got what it got: where it stood (the `cell` of a `stage`) and with what chance to be right, the price of
    that moment, the `option` it took (None: it stopped), and by how much that was expected to be better than to stop, FLOPs
    paid. `flops` is what the option took; one that was `repeated` stood on record, and is charged where it was made.
    """

    stage: str
    cell: int
    chance: float
    price: float
    option: str | None
    gain: float
    flops: int = 0
    repeated: bool = False


class Market(Protocol):
    """What a strategy that goes by a price is told."""

    @property
    def terms(self) -> Terms | None:
        """Those of this moment; None in a run without a price."""

    @property
    def spent(self) -> int:
        """FLOPs that this strategy was charged so far, in the budget's accounting."""

    @property
    def past(self) -> tuple[Decision, ...]:
        """What the run has on record of this strategy and prompt: an earlier start decided it."""

    async def afford(self, flops: int) -> None:
        """Wait until the task may spend so much, so that nothing is begun that cannot be paid to its end. Raises PurseEmpty
        where the budget does not allow it."""


class Models(Protocol):
    """All that a strategy may use."""

    @property
    def policy(self) -> PolicyClient: ...

    @property
    def reviser(self) -> ReviserClient: ...

    @property
    def verifier(self) -> VerifierClient: ...

    @property
    def reader(self) -> Reader: ...

    @property
    def market(self) -> Market: ...

    @property
    def seed(self) -> int:
        """The run seed: a strategy's own random choices derive from it, the strategy's text and the prompt's id."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One whole solution, or a branch that was dropped (`kept` false: it has no vote).

    `logprobs` and `scores` have one entry per step (sum of the tokens' log-probabilities; verifier value), or none at
    all where the policy told none, or nothing was scored. `parent` is the index of the candidate it branched from (-1:
    none) and `depth` the number of that candidate's steps it shares: 0 where it is the next attempt after that one.
    """

    index: int
    token_ids: tuple[int, ...]
    step_ends: tuple[int, ...]
    logprobs: tuple[float, ...]
    scores: tuple[float, ...]
    finish: Finish
    answer: str | None
    kept: bool = True
    parent: int = -1
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Solution:
    """What a strategy returns: the answer it chose (None: no readable candidate), all it drew, and what of it counted.

    `generations` is the paper's unit of budget; `kept_tokens` the sampled tokens that stand in a kept candidate, each
    counted once (the others were pruned). `decisions` are those of one that goes by a price; without a candidate, they say
    that it was left nothing. `probes` are indices of candidates that told how difficult the prompt is, and did nothing else.
    """

    answer: str | None
    candidates: tuple[Candidate, ...]
    generations: int
    kept_tokens: int
    decisions: tuple[Decision, ...] = ()
    probes: tuple[int, ...] = ()


@runtime_checkable
class Strategy(Protocol):
    """A hyper-parameter setting theta of one search method (paper section 3)."""

    @property
    def text(self) -> str:
        """Canonical text naming all that can change the result, e.g. `beam(n=16,width=4)`."""

    @property
    def uses_verifier(self) -> bool: ...

    @property
    def sequences(self) -> int:
        """How many sequences it runs at once, at most: what a replica plans its load by."""

    async def solve(self, prompt: Prompt, models: Models) -> Solution: ...


def asked_by(strategy: Strategy) -> frozenset[Role]:
    """The roles whose models a strategy asks: the policy, unless it says in `asks` who draws for it; and the verifier."""
    said = getattr(strategy, "asks", None)
    # Something else may have this name in a class of the user's own.
    asked: set[Role] = {"policy"}
    if isinstance(said, frozenset) and said <= set(ROLES) and said - {"verifier"}:
        asked = set(said)
    if strategy.uses_verifier:
        asked.add("verifier")
    return frozenset(asked)


def home_of(strategy: Strategy) -> Role:
    """The role on whose replicas a strategy runs: beside the reviser where nobody else draws for it, else beside the policy,
    from where a reviser is asked too."""
    return "reviser" if drawn_by(strategy) == {"reviser"} else "policy"


def drawn_by(strategy: Strategy) -> frozenset[Role]:
    """The roles whose models draw for a strategy."""
    return asked_by(strategy) - {"verifier"}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a strategy takes for one problem, told beforehand; where it may stop early, as if it did not.

    It costs `generations` of the paper's budget, draws `tokens` tokens, which are `sequences` continuations of the prompt
    (the steps of a search put together), and leaves `candidates`, those that it dropped included. No run draws more than
    `bound` continuations of the token limit each (None: nothing is known). Where `shared` is given, it draws nothing but the
    whole samples 0 to `sequences` - 1 with that sampling, which strategies of one problem have in common; where `begins` is,
    so many of the first ones are among what it draws. Of the continuations a reviser draws `revised`, at worst
    `revised_bound` (None: no more than those); `attempts` earlier solutions are read in all, at most `reads` of them before
    one draw.
    """

    generations: int
    sequences: int
    tokens: int
    candidates: int
    bound: int | None = None
    shared: Sampling | None = None
    begins: tuple[Sampling, int] | None = None
    revised: int = 0
    attempts: int = 0
    reads: int = 0
    revised_bound: int | None = None

    @property
    def most_revised(self) -> int:
        """Continuations that a reviser draws at worst."""
        return self.revised if self.revised_bound is None else self.revised_bound


@dataclass(frozen=True, slots=True)
class Grouping:
    """Where a report puts a strategy.

    `family` is the short name by which strategies are ordered; `series` names all budgets of one setting, which make one
    curve; `n` is its budget in generations (None: it has none beforehand, so its place is what it took on average).
    """

    family: str
    series: str
    n: int | None

    @property
    def sound(self) -> bool:
        """Whether its values are of these types, and `n` is positive: a class of the user's own may say anything."""
        texts = isinstance(self.family, str) and isinstance(self.series, str)
        return texts and (self.n is None or (type(self.n) is int and self.n > 0))


class Forecasting(Protocol):
    """What can tell its needs beforehand."""

    def forecast(self, typical: int, most: int) -> Forecast:
        """The need for one problem whose solutions have `typical` tokens, and `most` at the most."""


class Grouped(Protocol):
    """What can tell where a report puts it."""

    @property
    def grouping(self) -> Grouping: ...


class Described(Strategy, Forecasting, Grouped, Protocol):
    """A strategy that says all of it, as each with a short name does."""
