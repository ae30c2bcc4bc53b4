"""`flopwise show RUN [PROBLEM]`: read a run in the terminal: its problems, or one problem's candidates step
by step.

It knows the tables of a run alone. Invariant: what the models wrote is shown as it is, never read as markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actors.errors import UserError, nearest
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
            "name a run, and one of its problems, as in: flopwise show runs/evaluate legs-0123456789abcdef"
        )
    settings = compose("show", [word for word in rest if "=" in word], ShowSettings)
    from rich.console import Console

    from orchestration.runs.run import Run

    console = Console()
    found = Run(places[0])
    if len(places) == 1:
        _list(found, settings.count, console)
    else:
        _show(found, places[1], settings.strategy, settings.count, console)
    return 0


def _list(run: Run, count: int, console: Console) -> None:
    """A row a problem, a column a strategy."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = max(count, _LEAST_LISTED)
    outcomes = (
        run.outcomes().select(["problem_id", "strategy", "seed", "state", "correct", "answer"]).to_pylist()
    )
    strategies = list(dict.fromkeys(row["strategy"] for row in outcomes))
    seeds = sorted({row["seed"] for row in outcomes})
    by: dict[str, dict[tuple[str, int], Any]] = {}
    for row in outcomes:
        by.setdefault(row["problem_id"], {})[row["strategy"], row["seed"]] = row
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("problem", no_wrap=True, min_width=max(map(len, by), default=0))
    for place in range(len(strategies)):
        table.add_column(str(place + 1), no_wrap=True, min_width=2)
    table.add_column("question")
    questions = {row["problem_id"]: row["question"] for row in run.problems().to_pylist()}
    for problem in list(by)[:shown]:
        marks = ["".join(_mark(by[problem].get((one, seed))) for seed in seeds) for one in strategies]
        question = visible(" ".join(questions.get(problem, "").split()))
        # The one column that may shrink; on one line, cut off where the terminal ends.
        table.add_row(problem, *marks, Text(question, no_wrap=True, overflow="ellipsis"))
    console.print(table)
    for place, strategy in enumerate(strategies):
        console.print(f"{place + 1}: {strategy}", highlight=False, markup=False)
    if len(seeds) > 1:
        console.print(f"A mark for each seed: {', '.join(map(str, seeds))}", highlight=False)
    if len(by) > shown:
        console.print(f"{len(by) - shown:,} more problems; count=... shows more.", highlight=False)


def _mark(row: dict[str, Any] | None) -> str:
    if row is None:
        return " "
    if row["state"] != "answered":
        return "-"
    if row["correct"] is None:
        return "-" if row["answer"] is None else "."
    return "[green]+[/]" if row["correct"] else "[red]x[/]"


def _show(run: Run, problem_id: str, strategy: str | None, count: int, console: Console) -> None:
    import pyarrow.compute as pc

    problem = run.problem(problem_id)
    table = run.outcomes()
    outcomes = table.filter(pc.equal(table["problem_id"], problem_id)).to_pylist()
    known = list(dict.fromkeys(row["strategy"] for row in outcomes))
    several = len({row["seed"] for row in outcomes}) > 1
    if strategy is not None and strategy not in known:
        raise UserError.of(
            "strategy", strategy, f"choose one of {', '.join(known)}{nearest(strategy, known)}"
        )
    candidates = run.candidates(problem=problem_id).to_pylist()
    console.rule(problem_id)
    console.print(visible(problem.question), markup=False, highlight=False)
    if problem.answer is not None:
        console.print(f"reference: {problem.answer}", markup=False, highlight=False, style="bold")
    for outcome in outcomes:
        if strategy in (None, outcome["strategy"]):
            mine = [row for row in candidates if row["key"] == outcome["key"]]
            _outcome(outcome, mine, count if strategy is None else len(mine), several, console)


def _outcome(
    outcome: dict[str, Any],
    candidates: list[dict[str, Any]],
    count: int,
    several_seeds: bool,
    console: Console,
) -> None:
    from rich.text import Text

    console.print()
    # What did not run is neither.
    correct = outcome["correct"] if outcome["state"] == "answered" else None
    verdict = {None: "", True: "right", False: "wrong"}[correct]
    head = Text(f"{outcome['strategy']}  ", style="bold")
    head.append(f"seed {outcome['seed']}  " if several_seeds else "")
    head.append(
        f"answer {visible(str(outcome['answer']))} "
        if outcome["state"] == "answered"
        else f"{outcome['state']} "
    )
    head.append(verdict, style="green" if verdict == "right" else "red")
    head.append(
        f"  {outcome['generations']} generations, {outcome['attributed_tokens']:,} tokens", style="dim"
    )
    if outcome["reason"]:
        head.append(f"  {outcome['reason']}", style="yellow")
    console.print(head)
    # Kept candidates first, each by its last score, best first.
    candidates.sort(key=lambda row: (not row["kept"], -(row["scores"] or [0.0])[-1], row["index"]))
    for row in candidates[:count]:
        _candidate(row, console)
    if len(candidates) > count:
        more = f"  {len(candidates) - count} more candidates; strategy={outcome['strategy']} shows all"
        console.print(more, highlight=False, markup=False, style="dim")


def _candidate(row: dict[str, Any], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    verdict = {None: "", True: "right", False: "wrong"}[row["correct"]]
    title = Text(f"candidate {row['index']}: answer {visible(str(row['answer']))} ")
    title.append(verdict, style="green" if verdict == "right" else "red")
    notes = [row["finish_reason"]] if row["finish_reason"] != "eos" else []
    notes += [] if row["kept"] else ["dropped"]
    notes += [f"from candidate {row['parent']} after {row['depth']} steps"] if row["parent"] >= 0 else []
    title.append(f" ({', '.join(notes)})" if notes else "", style="dim")
    table = Table(box=box.MINIMAL, title=title, title_justify="left", show_header=True, pad_edge=False)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("log-prob.", justify="right", no_wrap=True)
    table.add_column("step")
    steps = row["steps"] or ["(steps were not kept)"] * max(len(row["scores"] or ()), 1)
    for place, step in enumerate(steps):
        score, logprob = _at(row["scores"], place), _at(row["logprobs"], place)
        style = "" if math.isnan(score) else "green" if score >= 0.7 else "yellow" if score >= 0.3 else "red"
        table.add_row(
            Text("" if math.isnan(score) else f"{score:.2f}", style=style),
            "" if math.isnan(logprob) else f"{logprob:.2f}",
            Text(visible(step.rstrip("\n"))),
        )
    console.print(table)


def visible(text: str) -> str:
    """The text with control characters written out: what a model wrote shall not steer the terminal."""
    return "".join(
        letter if letter in "\n\t" or letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _at(values: list[float] | None, place: int) -> float:
    return values[place] if values and place < len(values) else math.nan
