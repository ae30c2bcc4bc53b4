"""One draw of a task: found among what exists, or paid for, made and noted, by whichever model.

It knows no strategy, and of a client only what it asks. Invariants: nothing is sent before its worst case is reserved, and
every request sent is settled, also when it fails; one whose answer was lost is paid in full, and made again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from actors.engines.base import Aborted, AnswerLost, GenerateRequest
from actors.ledger import Kind, Rank
from actors.replicas.bench import Bill, TaskBench
from actors.replicas.confidence import told_of
from actors.replicas.meter import Meter
from actors.replicas.peers import CallLost
from actors.store.library import sample_key, sample_row
from actors.strategy import Role, Sample
from actors.work import Cost

_KEPT: Kind = "kept"
_FAILED: Kind = "failed"
_LOST: Kind = "lost"

MOST_LOST = 4
"""Times that a request is lost, with a replica or its answer alone, before its strategies fail: it may be what kills them."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What is asked of the model of a `role`, at a `place`; `prefix` are the tokens of the solution before it."""

    role: Role
    request: GenerateRequest
    place: tuple[int, ...]
    prefix: tuple[int, ...] = ()


async def drawn(bench: TaskBench, meter: Meter, draw: Draw, rank: Rank) -> Sample:
    """Make a draw, or find it. Raises PurseEmpty where the budget does not allow its worst case."""
    request = draw.request
    key = sample_key(bench.run.salt(draw.role), request.seed, request.token_ids, request.max_tokens)
    known, measure = bench.prior.samples.get(key), bench.run.measure
    # Of one that another run drew nothing may have been told that scores could be made of: it is drawn again.
    if known is not None and (measure is None or told_of(known, measure)):
        return known
    lost = 0
    while True:
        try:
            sample, took = await _made(bench, meter, draw, rank)
            break
        except (CallLost, AnswerLost) as error:
            lost += 1
            if lost == MOST_LOST:
                what = (
                    "replicas were lost with this request"
                    if isinstance(error, CallLost)
                    else "answers were lost"
                )
                raise RuntimeError(f"{lost} {what}, last: {error}") from None
    bench.bill(Bill(draw.role, took, draw.prefix + sample.token_ids))
    bench.samples.append(sample_row(key, bench.prompt.id, bench.seed, draw.place, len(draw.prefix), sample))
    return sample


async def _made(bench: TaskBench, meter: Meter, draw: Draw, rank: Rank) -> tuple[Sample, int]:
    """What was drawn, and what it took."""
    role, request, cost = draw.role, draw.request, bench.run.costs[draw.role]
    engine = bench.engine_of(role)
    context, most = len(request.token_ids), request.max_tokens
    worst = bench.run.price(
        Cost(
            paper=cost.paper(most),
            exact=cost.exact(0, context - 1, 0) + cost.exact(context - 1, most, most),
        )
    )
    pace = None
    if engine.paced and bench.purse.limited:
        # The last token reads the most.
        token = bench.run.price(Cost(paper=cost.paper(1), exact=cost.exact(context + most - 2, 1, 1)))
        first = bench.run.price(Cost(exact=cost.exact(0, context - 1, 0))) + token
        pace = await bench.purse.reserve_paced(worst, first, token, rank=rank)
    else:
        await bench.purse.reserve(worst, rank=rank)
    # A request that fails may have used all that was set aside for it.
    took, kind = worst, _FAILED
    try:
        result = await engine.generate(replace(request, pace=pace))
        count = len(result.token_ids) + result.beyond
        spent = Cost(
            tokens={role: count},
            paper=cost.paper(count),
            exact=cost.exact(context - 1 - result.prefilled, result.prefilled, 0)
            + cost.exact(context - 1, count, count),
        )
        meter.spent += spent
        took, kind = bench.run.price(spent), _KEPT
    except Aborted as aborted:
        computed = cost.exact(context - 1 - aborted.prefilled, aborted.prefilled, 0)
        drawn_exact = cost.exact(context - 1, aborted.drawn, aborted.drawn)
        took = bench.run.price(Cost(paper=cost.paper(aborted.drawn), exact=computed + drawn_exact))
        raise
    except (CallLost, AnswerLost):
        # It may have been computed to the end before it was lost.
        kind = _LOST
        raise
    finally:
        if pace is not None:
            pace.end()
        bench.purse.settle(worst, took, role, kind)
    return Sample(result.token_ids, result.logprobs, result.finish, result.certainties), took
