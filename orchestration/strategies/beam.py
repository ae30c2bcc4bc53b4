"""Beam search against the verifier (paper section 5.2 and appendix C): N beams, M continuations of each
survivor.

Draw N first steps; score each as soon as it is there; keep the N/M best; draw M next steps from each; and so
on until no survivor can go on, or for 40 rounds. Best-of-N weighted over the finished candidates of the last
pool decides.

It knows nothing of tokens but their count. Places: a node is drawn at the path of child indices that leads to
it, so its draw depends neither on N nor on when its siblings complete. Invariant: a place is drawn at most
once; a finished node is never extended nor cloned, and a vote always belongs to one draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from actors.errors import UserError
from actors.work import Models, Prompt, PurseEmpty, Sampling, Solution
from orchestration.strategies.drawing import draw, score, solution_of, together, whole_samples
from orchestration.strategies.selection import AGGREGATIONS, Aggregation, aggregate, voters, weighted
from orchestration.strategies.settings import (
    canonical,
    check_choice,
    check_count,
    check_temperature,
    check_top_p,
)
from orchestration.strategies.tree import Node, candidates_of, tokens_under


@dataclass(slots=True)
class _Search:
    """Where a search stands: `pool` competes, `dropped` lost a round, `refused` says that the purse ran
    empty.
    """

    pool: list[Node] = field(default_factory=list)
    dropped: list[Node] = field(default_factory=list)
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Beam:
    """`n` beams, `width` continuations of each survivor (the paper's M), so n / width survivors a round.

    `width` is a divisor of `n`, anything above `n` (one survivor, `n` continuations), or "sqrt": the divisor
    of `n` nearest to its square root by ratio, the smaller of two. `n` = 1 is one whole sample. `rounds`
    counts drawings, the first steps included. `aggregation` makes a node's value of its step scores.

    Where the paper is silent:
    - A finished beam keeps its place and its value: it competes for the n / width places, and when it gets
      one, its continuations are not drawn. Equal values rank by place.
    - A beam cut off by the token limit ranks behind all others, whatever its value.
    - When no survivor can go on, the search is over: all finished beams of that pool vote, those without a
      place too.
    - If none of the last pool can vote, finished ones that were dropped on the way are taken back; if there
      are none, unfinished ones vote where an answer can be read.
    - When the purse runs empty, no further round begins; if nothing is finished by then, the best beam is
      completed by one plain sample, should the purse still allow it.
    """

    n: int
    width: int | str = 4
    rounds: int = 40
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_count("beam.n", self.n)
        _check_width(self.n, self.width)
        check_count("beam.rounds", self.rounds)
        check_choice("beam.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(self, "temperature", check_temperature("beam.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("beam.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("beam", self, always=("n", "width"))

    @property
    def uses_verifier(self) -> bool:
        return True

    @property
    def sequences(self) -> int:
        return self.n

    @property
    def continuations(self) -> int:
        """Steps drawn from each survivor."""
        if isinstance(self.width, int):
            return min(self.width, self.n)
        return min(
            _divisors(self.n), key=lambda m: (max(Fraction(m * m, self.n), Fraction(self.n, m * m)), m)
        )

    @property
    def survivors(self) -> int:
        """Places that a pool competes for."""
        return self.n // self.continuations

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Costs n generations, dropped beams included; where the purse ran empty early, the first steps
        drawn.

        All leaves of the tree are candidates: the last pool by place, then (kept false) the dropped ones by
        place. Raises PurseEmpty where nothing was completed nor cut off, and no answer can be read of what
        there is.
        """
        sampling = Sampling(self.temperature, self.top_p)
        if self.n == 1:
            sample = await whole_samples(models, 1, sampling, with_scores=True)
            return solution_of(sample, weighted(sample, self.aggregation))
        search = _Search()
        await self._grow(models, sampling, search, [Node()], self.n)
        generations = len(search.pool)
        for _ in range(self.rounds - 1):
            if search.refused:
                break
            parents = self._select(search)
            if not parents:
                break
            await self._grow(models, sampling, search, parents, self.continuations)
        if search.refused and not any(node.finish == "eos" for node in (*search.pool, *search.dropped)):
            await self._complete_best(models, sampling, search)
        return await self._conclude(models, search, generations)

    def _select(self, search: _Search) -> list[Node]:
        """Drop what loses this round from the pool; take out and return the survivors that go on."""
        ranked = sorted(search.pool, key=self._rank)
        survivors, losers = ranked[: self.survivors], ranked[self.survivors :]
        parents = [node for node in survivors if node.live]
        if not parents:
            # Nothing more is drawn, so being finished is enough to vote.
            losers = [node for node in ranked if node.live]
            survivors = [node for node in ranked if not node.live]
        search.dropped += losers
        search.pool = [node for node in survivors if not node.live]
        return parents

    def _rank(self, node: Node) -> tuple[bool, bool, float, tuple[int, ...]]:
        """Sort key, best first: cut off last, then unscored (the purse was empty, or there is no step
        yet).
        """
        value = aggregate(node.scores, self.aggregation) if node.scores else 0.0
        return node.finish == "length", not node.scores, -value, node.place

    async def _grow(
        self, models: Models, sampling: Sampling, search: _Search, parents: Sequence[Node], width: int
    ) -> None:
        """Draw and score `width` children of each parent, all at once, into the pool."""
        children = await together(
            self._child(models, sampling, search, parent, index, one_step=True)
            for parent in parents
            for index in range(width)
        )
        drawn = [child for child in children if child is not None]
        extended = {id(child.parent) for child in drawn}
        # A parent whose children were all refused is a leaf again; the root is none.
        search.pool += drawn + [node for node in parents if node.parent and id(node) not in extended]

    async def _child(
        self, models: Models, sampling: Sampling, search: _Search, parent: Node, index: int, *, one_step: bool
    ) -> Node | None:
        """Draw the child `index`, and score it at once; None where the purse refused the draw."""
        place = (*parent.place, index)
        sample = await draw(models.policy, parent.token_ids, place, sampling, one_step=one_step)
        if sample is None:
            search.refused = True
            return None
        token_ids = parent.token_ids + sample.token_ids
        full = sample.finish == "stop" and len(token_ids) >= models.policy.max_tokens
        scores = await score(models.verifier, token_ids)
        if scores is None:
            search.refused = True
        finish = "length" if full else sample.finish
        return Node(parent, place, token_ids, parent.logprobs + sample.logprobs, finish, scores or ())

    async def _complete_best(self, models: Models, sampling: Sampling, search: _Search) -> None:
        """Complete the best live leaf of the pool by one plain sample, if the purse allows that.

        A refused round had the worst cases of all siblings reserved at once; what they left may be enough for
        one.
        """
        best = min((node for node in search.pool if node.live), key=self._rank, default=None)
        if best and (child := await self._child(models, sampling, search, best, 0, one_step=False)):
            search.pool = [child if node is best else node for node in search.pool]

    async def _conclude(self, models: Models, search: _Search, generations: int) -> Solution:
        kept = sorted(search.pool, key=lambda node: node.place)
        dropped = sorted(search.dropped, key=lambda node: node.place)
        candidates = await candidates_of(models, kept, dropped)
        if not any(c.finish == "eos" for c in voters(candidates)):
            candidates = tuple(
                replace(c, kept=c.kept or (c.finish == "eos" and c.answer is not None)) for c in candidates
            )
        if search.refused and not voters(candidates) and all(c.finish == "stop" for c in candidates):
            raise PurseEmpty("the purse was empty before the first candidate")
        leaves = zip(candidates, [*kept, *dropped], strict=True)
        return Solution(
            answer=weighted(candidates, self.aggregation),
            candidates=candidates,
            generations=generations,
            kept_tokens=tokens_under(leaf for candidate, leaf in leaves if candidate.kept),
        )


def _divisors(n: int) -> list[int]:
    return [m for m in range(1, n + 1) if n % m == 0]


def _check_width(n: int, width: object) -> None:
    """Raise UserError unless n / width is whole, or width is above n, or "sqrt"."""
    if width == "sqrt":
        return
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise UserError.of("beam.width", width, "must be a whole number of at least 1, or sqrt")
    if width < n and n % width:
        below = max(m for m in _divisors(n) if m < width)
        above = min(m for m in _divisors(n) if m > width)
        raise UserError.of(
            "beam.width", width, f"must divide n = {n}; the nearest that do are {below} and {above}"
        )
