"""`flopwise show RUN [PROBLEM]`: read a run in the terminal: its problems, all or some of them, or one in full.

It knows the tables of a run alone. Invariant: what the models wrote is shown as it is, never read as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actors.errors import UserError, counted
from orchestration.commands.arguments import options_of
from orchestration.commands.helptext import help_of
from orchestration.setup.compose import compose
from orchestration.setup.settings import ShowSettings

if TYPE_CHECKING:
    from rich.console import Console

    from orchestration.runs.run import Run

_LEAST_LISTED = 20


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, rest = options_of(words, ("--help",))
    if "--help" in options:
        print(help_of("show"))
        return 0
    places = [word for word in rest if "=" not in word]
    if not 1 <= len(places) <= 2:
        raise UserError(
            "name a run, and one of its problems, as in: flopwise show runs/evaluate countdown-0123456789abcdef"
        )
    settings = compose("show", [word for word in rest if "=" in word], ShowSettings)
    from rich.console import Console

    from orchestration.commands.show_problem import show_problem
    from orchestration.runs.run import Run

    console = Console()
    found = Run(places[0])
    if len(places) == 1:
        _list(found, settings, console)
        return 0
    for name in ("wrong", "right", "state"):
        if value := getattr(settings, name):
            raise UserError.of(
                name, value, f"it chooses among problems, and {places[1]} is named: leave one of them out"
            )
    show_problem(found, found.problem_id(places[1]), settings.strategy, settings.count, console)
    return 0


def _list(run: Run, settings: ShowSettings, console: Console) -> None:
    """A row a problem, a column a strategy."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from orchestration.analysis.filters import Filter, meant
    from orchestration.commands.show_problem import visible
    from orchestration.runs.run import NO_OUTCOME

    shown = max(settings.count, _LEAST_LISTED)
    outcomes = (
        run.outcomes().select(["problem_id", "strategy", "seed", "state", "correct", "answer"]).to_pylist()
    )
    if not outcomes:
        raise UserError.of("run", str(run.folder), NO_OUTCOME)
    known = list(dict.fromkeys(row["strategy"] for row in outcomes))
    strategies = known if settings.strategy is None else meant("strategy", settings.strategy, known)
    asked = Filter.read(settings.wrong, settings.right, settings.state, strategies, known)
    seeds = sorted({row["seed"] for row in outcomes})
    by: dict[str, dict[tuple[str, int], Any]] = {}
    for row in outcomes:
        by.setdefault(row["problem_id"], {})[row["strategy"], row["seed"]] = row
    problems = asked.problems(outcomes) if asked else list(by)
    listed = problems[:shown]
    # Narrow: what is left is the question's.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("problem", no_wrap=True, min_width=max(map(len, listed), default=0))
    for place in range(len(strategies)):
        table.add_column(str(place + 1), no_wrap=True, min_width=2)
    table.add_column("question")
    stored = run.problems(["problem_id", "question"])
    stored = stored.filter(pc.is_in(stored["problem_id"], pa.array(listed, pa.string())))
    questions = {row["problem_id"]: row["question"] for row in stored.to_pylist()}
    for problem in listed:
        marks = ["".join(_mark(by[problem].get((one, seed))) for seed in seeds) for one in strategies]
        question = visible(" ".join(questions.get(problem, "").split()))
        # The one column that may shrink; on one line, cut off where the terminal ends.
        table.add_row(Text(problem), *marks, Text(question, no_wrap=True, overflow="ellipsis"))
    if listed:
        console.print(table)
        for place, strategy in enumerate(strategies):
            console.print(f"{place + 1}: {strategy}", highlight=False, markup=False)
        console.print("+ right, x wrong, . an answer without a label, - no answer", highlight=False)
        if len(seeds) > 1:
            console.print(f"A mark for each seed: {', '.join(map(str, seeds))}", highlight=False)
    if asked:
        console.print(
            f"{len(problems):,} of {counted(len(by), 'problem')}: {asked.text}.",
            highlight=False,
            markup=False,
        )
    if len(problems) > shown:
        console.print(
            f"{counted(len(problems) - shown, 'more problem')}; count=... shows more.", highlight=False
        )


def _mark(row: dict[str, Any] | None) -> str:
    if row is None:
        return " "
    if row["state"] != "answered":
        return "-"
    if row["correct"] is None:
        return "-" if row["answer"] is None else "."
    return "[green]+[/]" if row["correct"] else "[red]x[/]"
