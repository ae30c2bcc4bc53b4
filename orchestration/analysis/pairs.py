"""Comparisons that are asked for as "A vs B": how they are read, and which of them a run can show.

It knows names of strategies, nothing of results. Invariant: both sides are compared in canonical form, so a pair may be
written with or without what is a default; a family's name stands for its only member.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.errors import UserError, nearest
from actors.strategy import Sampling
from orchestration.analysis.collect import Named
from orchestration.strategies.call import grouping_of
from orchestration.strategies.parse import registered
from orchestration.strategies.sampling.majority import Majority

MAJORITY = "majority"
PASS = "pass"
LIKELIHOOD = "likelihood"


def ladder(size: int, also: Sequence[int] = ()) -> list[int]:
    """Powers of two up to `size`, `size` itself, and others that were asked for."""
    return sorted({2**power for power in range(size.bit_length())} | {size} | set(also))


def baseline(rule: str, n: int, sampling: Sampling) -> Named:
    """What a rule makes of n independent samples at no cost: named like a vote over them, so with their sampling."""
    vote = Majority(n, sampling.temperature, sampling.top_p).text
    grouping = grouping_of(f"{rule}{vote.removeprefix(MAJORITY)}", n)
    return Named(f"{rule}{vote.removeprefix(MAJORITY)}", grouping.family, grouping.series, n)


def read_pair(text: str, strategies: Sequence[str] = ()) -> tuple[str, str]:
    """The two strategies of "A vs B", in canonical form; UserError where it is not written so. The name of a family, such as
    compute_optimal, stands for its only member among `strategies`."""
    names = [part.strip() for part in text.split(" vs ")]
    if len(names) != 2:
        raise UserError.of("report.pairs", text, "write it as A vs B")
    return _meant(names[0], strategies), _meant(names[1], strategies)


def comparable(strategies: Sequence[str]) -> list[str]:
    """Names that a run of these strategies may show, by canonical text: what it ran, what subsets of its independent
    samples tell, and the baselines that they give at no cost."""
    named = [Named.of(text) for text in strategies]
    names = list(strategies)
    sizes: dict[Sampling, int] = {}
    for one in named:
        if one.chooser is not None:
            names += [one.chooser.at(n).text for n in ladder(one.n)]
            sampling = one.chooser.choice.sampling
            sizes[sampling] = max(one.n, sizes.get(sampling, 0))
    for sampling, size in sizes.items():
        rules = (MAJORITY, LIKELIHOOD, PASS)
        names += [baseline(rule, n, sampling).text for rule in rules for n in ladder(size)]
    return list(dict.fromkeys(names))


def check_pairs(pairs: Sequence[str], strategies: Sequence[str]) -> None:
    """Raise UserError for a pair that is not written as one, or that a run of these strategies cannot show."""
    for pair in pairs:
        for name in read_pair(pair, strategies):
            known = comparable(strategies)
            if name not in known:
                mend = (
                    f"the run has no strategy {name!r}{nearest(name, known)}; it has {', '.join(strategies)}"
                )
                raise UserError.of("report.pairs", pair, mend)


def _meant(text: str, strategies: Sequence[str]) -> str:
    """A strategy's full text, or that of a family's only member; what is none (a baseline), or is one of the user's own, as
    it stands."""
    strategy = registered(text)
    found = text if strategy is None else strategy.text
    members = [one for one in strategies if Named.of(one).family == text]
    return members[0] if found not in strategies and len(members) == 1 else found
