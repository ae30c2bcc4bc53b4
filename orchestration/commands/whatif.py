"""`flopwise whatif RUN`: what another budget, price, list of strategies, table or vote would buy, from stored samples alone.

It knows answers to questions about pools, nothing of how they are found. Invariant: nothing is drawn, and no problem is
judged by what was learnt from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from actors.errors import UserError
from orchestration.commands.arguments import terminal
from orchestration.commands.planning_words import (
    asked_of,
    check_amounts,
    check_least,
    check_word,
    in_folder,
    write_page,
    written,
)
from orchestration.setup.compose import compose
from orchestration.setup.settings import PATH, check_figures
from orchestration.strategies.choice import Rule
from orchestration.strategies.selection import AGGREGATIONS

if TYPE_CHECKING:
    from orchestration.planning.sources import Source
    from orchestration.planning.whatif import WhatIf
    from orchestration.report.tables import Cells
    from orchestration.strategies.tally import Counting

VOTES: tuple[Rule, ...] = get_args(Rule)

HEAD = ("what", "FLOPs a problem", "spent", "accuracy", "interval", "of others", "samples", "nothing")

NOTES = (
    "One price: accuracy under the global price, which moves the budget between prompts. The same for each: that many "
    "samples for every prompt. Spent: FLOPs a problem that were really spent. Nothing: the share of problems that got no "
    "sample, which count as wrong. Interval (95%): what another run of the same problems would show, drawn anew; of others: "
    "what a run of as many other problems like these would show.",
)


@dataclass
class _Settings:
    budgets: list[float] = field(default_factory=list)
    prices: list[float] = field(default_factory=list)
    strategies: list[str] = field(default_factory=list)
    cells: int = 6
    aggregation: str | None = None
    vote: str | None = None
    prompt_value: bool = True
    floor: bool = True
    orders: int = 3
    seed: int = 0
    out: str | None = field(default=None, metadata=PATH)
    figures: list[str] = field(default_factory=lambda: ["png", "svg"])


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    asked = asked_of(words, "whatif")
    if asked is None:
        return 0
    folder, given = asked
    settings = compose("whatif", given, _Settings)
    check_amounts("budgets", settings.budgets)
    check_amounts("prices", settings.prices)
    check_least("orders", settings.orders, 1)
    check_least("cells", settings.cells, 2)
    check_figures("figures", settings.figures)
    for name, known in (("aggregation", AGGREGATIONS), ("vote", VOTES)):
        if getattr(settings, name) is not None:
            check_word(name, getattr(settings, name), known)
    if settings.budgets and settings.prices:
        raise UserError.of("prices", settings.prices, "give budgets or prices: each tells the other")
    from orchestration.commands.steps import Steps
    from orchestration.planning.pools import NOTHING_KNOWN
    from orchestration.planning.prompt_values import stored_values
    from orchestration.planning.sources import read_source
    from orchestration.planning.whatif import Question
    from orchestration.report.plan_figures import Curve, draw_curves
    from orchestration.report.tables import rich_table
    from orchestration.runs.run import Run

    console = terminal()
    run_there = Run(folder)
    with Steps(console) as steps:
        steps.tell("reading the run", 0, 1)
        prompts = stored_values(run_there) if settings.prompt_value else NOTHING_KNOWN
        source = read_source(run_there, settings.strategies, prompts=prompts)
        question = Question(
            source.pools,
            source.offer,
            settings.orders,
            settings.seed,
            settings.cells,
            settings.floor,
            _counting(source, settings),
        )
        tables = question.tables(steps.tell)
        same = question.uniform()
        points: Sequence[float] = settings.prices or settings.budgets or usual(same)
        found = []
        for place, one in enumerate(points):
            steps.tell("asking", place, len(points))
            ask = question.at_price if settings.prices else question.with_budget
            found.append(ask(tables, one))
    cells = _cells(found, same, settings.prices)
    title = f"{len(source.pools):,} problems of {run_there.folder.name}"
    console.print(rich_table(HEAD, cells, title))
    for line in NOTES:
        console.print(line, highlight=False)
    curves = [
        Curve(name, [(one.spent, one.accuracy) for one in line])
        for name, line in (("one price", found), ("the same for each", same))
    ]
    out = in_folder(settings.out, run_there.folder / "whatif")
    with written(out):
        figures = draw_curves(curves, out, "whatif", settings.figures, problems=len(source.pools))
        paths = write_page(out / "whatif.md", "What if", [(title, HEAD, cells)], NOTES, figures)
    for path in paths:
        console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def _counting(source: Source, settings: _Settings) -> Counting:
    """How votes are counted: as the run's strategy does, or as asked."""
    from orchestration.strategies.tally import Counting

    ours = source.counting
    rule = next((one for one in VOTES if one == settings.vote), ours.rule)
    how = next((one for one in AGGREGATIONS if one == settings.aggregation), ours.aggregation)
    if ours.rule == "majority" and settings.vote in ("weighted", "best"):
        mend = f"{source.samples.text} was drawn without scores, and such a vote needs them: leave it out"
        raise UserError.of("vote", settings.vote, mend)
    return Counting(rule, how)


def usual(same: Sequence[WhatIf], count: int = 8) -> list[float]:
    """Budgets from a little more than one sample takes to what all of them take."""
    first, last = 1.2 * same[0].spent, max(same[-1].spent, 2 * same[0].spent)
    return [first * (last / first) ** (at / (count - 1)) for at in range(count)]


def _cells(found: Sequence[WhatIf], same: Sequence[WhatIf], prices: Sequence[float]) -> Cells:
    from orchestration.report.tables import interval, percent, scientific

    def row(name: str, one: WhatIf) -> list[str]:
        return [
            name,
            "-" if one.budget is None else scientific(one.budget),
            scientific(one.spent),
            percent(one.accuracy.mean),
            interval(one.accuracy),
            interval(one.others),
            f"{one.samples:.1f}",
            percent(one.unpaid),
        ]

    names = [f"at the price {scientific(price)}" for price in prices] or ["one price"] * len(found)
    return [
        *(row(name, one) for name, one in zip(names, found, strict=True)),
        *(row(f"the same for each: {int(one.samples)}", one) for one in same),
    ]
