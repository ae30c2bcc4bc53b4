"""What one pass of a verifier costs: that of a head over what is read, or of a judge that writes before its score.

It knows costs and readings, and no purse. Invariant: what a pass took is never above what it takes at most.
"""

from __future__ import annotations

from actors.engines.base import Scores
from actors.engines.verifiers.families.base import Reading
from actors.work import Cost, CostModel, writing_cost


def at_most(cost: CostModel, reading: Reading, new: int, rows: int) -> Cost:
    """A pass at worst: `new` tokens of the solution are scored, `rows` go through the head."""
    scored = Cost({"verifier": new}, paper=cost.paper(new), exact=cost.exact(0, len(reading.ids), rows))
    if (writing := reading.writing) is None:
        return scored
    # What is read is in what is written already.
    written = writing_cost(cost, len(reading.ids), writing.most, writing.thinking.chains)
    return Cost({"verifier": new}, paper=cost.paper(new)) + written


def taken(cost: CostModel, reading: Reading, new: int, scores: Scores) -> Cost:
    """What a judge's score took, as its engine counted it. Raises RuntimeError where the counts contradict one another."""
    writing, read = reading.writing, len(reading.ids)
    assert writing is not None
    if len(scores.written) != writing.thinking.chains:
        raise RuntimeError(
            f"the verifier tells of {len(scores.written)} chains, of {writing.thinking.chains}"
        )
    first = scores.written[0]
    left = first.kept + len(writing.then) + 1 if writing.stepwise else 0
    if len(scores.left) != left:
        raise RuntimeError(f"the verifier leaves {len(scores.left)} tokens to the next step, of {left}")
    tokens, exact = new, 0
    for one in scores.written:
        behind = read + one.kept + len(writing.then)
        sound = 0 <= one.kept <= one.drawn <= writing.thinking.tokens
        if not (sound and 0 <= one.prefilled < read and 0 <= one.again < behind):
            raise RuntimeError(f"the verifier says that it wrote {one} behind {read} tokens")
        tokens += one.drawn + len(writing.then)
        exact += cost.exact(read - 1 - one.prefilled, one.prefilled, 0)
        exact += cost.exact(read - 1, one.drawn, one.drawn)
        exact += cost.exact(behind - 1 - one.again, one.again + 1, 1)
    return Cost({"verifier": tokens}, paper=cost.paper(tokens), exact=exact)


def of_its_own(cost: CostModel, reading: Reading, new: int, cached: int, drawn: tuple[int, ...]) -> Cost:
    """What a judge's score takes alone, `cached` tokens of what is read being there: each chain goes on from that, and the
    verdict from all that the chain has written."""
    writing, read = reading.writing, len(reading.ids)
    assert writing is not None
    tokens, exact = new, cost.exact(min(cached, read - 1), max(0, read - 1 - cached), 0)
    for count in drawn:
        tokens += count + len(writing.then)
        exact += cost.exact(read - 1, count, count) + cost.exact(read + count - 1, len(writing.then) + 1, 1)
    return Cost({"verifier": tokens}, paper=cost.paper(tokens), exact=exact)
