"""One problem of a run in the terminal: its prompt, what each strategy chose, by which vote, among which candidates.

It knows the tables of a run and how votes are counted, nothing of how candidates are drawn. Invariant: what the models wrote
is shown as it is, never read as markup, and steers no terminal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.errors import counted
from actors.strategy import Answer, Candidate
from orchestration.analysis.filters import meant
from orchestration.strategies.parse import registered
from orchestration.strategies.tally import Ballot, Counting, counting_of, tally

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from orchestration.runs.run import Run

_ENDS = {
    "eos": "ended",
    "length": "cut off by the token limit",
    "stop": "stopped after a step, unfinished",
}
"""Why a candidate ended, in words."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """An outcome with its candidates' rows, best first, and their vote."""

    outcome: dict[str, Any]
    rows: list[dict[str, Any]]
    counting: Counting
    ballots: list[Ballot]

    @classmethod
    def of(cls, outcome: dict[str, Any], rows: list[dict[str, Any]]) -> _Tried:
        counting = counting_of(registered(outcome["strategy"]))
        ballots = tally([_candidate_of(row) for row in rows], counting)
        rank = {index: place for place, ballot in enumerate(ballots) for index in ballot.voters}

        def order(row: dict[str, Any]) -> tuple[bool, bool, float, int, int]:
            value = None if counting.rule == "majority" else counting.value(_candidate_of(row))
            # Where nothing is scored, the candidates of the stronger answers are the better ones.
            return (
                not row["kept"],
                value is None,
                -(value or 0.0),
                rank.get(row["index"], len(rows)),
                row["index"],
            )

        return cls(outcome, sorted(rows, key=order), counting, ballots)

    @property
    def correct(self) -> bool | None:
        """Whether its answer is right; what did not run is neither."""
        correct: bool | None = self.outcome["correct"] if self.outcome["state"] == "answered" else None
        return correct


def show_problem(run: Run, problem_id: str, strategy: str | None, count: int, console: Console) -> None:
    """Print all of a problem, or what concerns one strategy; of each `count` candidates, of one strategy all."""
    import pyarrow.compute as pc
    from rich.text import Text

    table = run.outcomes()
    outcomes = table.filter(pc.equal(table["problem_id"], problem_id)).to_pylist()
    known = list(dict.fromkeys(row["strategy"] for row in outcomes))
    several = len({row["seed"] for row in outcomes}) > 1
    shown = known if strategy is None else meant("strategy", strategy, known)
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in run.candidates(problem=problem_id).to_pylist():
        by_key.setdefault(row["key"], []).append(row)
    tried = [_Tried.of(row, by_key.get(row["key"], [])) for row in outcomes if row["strategy"] in shown]
    console.rule(Text(problem_id))
    _question(run, problem_id, console)
    if len(tried) > 1:
        console.print(_choices(tried, several))
    for one in tried:
        _outcome(one, count if strategy is None else len(one.rows), several, console)


def _question(run: Run, problem_id: str, console: Console) -> None:
    problem = run.problem(problem_id)
    tokens, prompt = run.prompt(problem_id)
    console.print(visible(problem.question), markup=False, highlight=False)
    if problem.answer is not None:
        console.print(f"reference: {visible(problem.answer)}", markup=False, highlight=False, style="bold")
    if problem.metadata:
        pairs = (f"{name}: {value}" for name, value in problem.metadata.items())
        console.print(visible(", ".join(pairs)), markup=False, highlight=False, style="dim")
    console.print(f"prompt ({counted(tokens, 'token')}):", markup=False, highlight=False, style="bold")
    text = "(its text was not stored by the version that began the run)" if prompt is None else prompt
    console.print(visible(text.rstrip("\n")), markup=False, highlight=False)


def _choices(tried: Sequence[_Tried], several_seeds: bool) -> Table:
    """What each strategy chose, and why it has no answer where it has none."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("strategy", *(("seed",) if several_seeds else ()), "answer", "", "votes", "tokens"):
        table.add_column(name, justify="right" if name in ("votes", "tokens", "seed") else "left")
    for one in tried:
        outcome = one.outcome
        answered = outcome["state"] == "answered"
        mine = [ballot for ballot in one.ballots if ballot.answer == outcome["answer"]]
        table.add_row(
            Text(outcome["strategy"]),
            *([str(outcome["seed"])] if several_seeds else []),
            Text(_read(outcome["answer"]) if answered else outcome["state"]),
            _verdict(one.correct),
            f"{len(mine[0].voters)} of {sum(len(ballot.voters) for ballot in one.ballots)}" if mine else "-",
            f"{outcome['attributed_tokens']:,}",
        )
    return table


def _outcome(one: _Tried, count: int, several_seeds: bool, console: Console) -> None:
    from rich.text import Text

    outcome = one.outcome
    console.print()
    head = Text(f"{outcome['strategy']}  ", style="bold")
    head.append(f"seed {outcome['seed']}  " if several_seeds else "")
    answered = outcome["state"] == "answered"
    head.append(f"answer {_read(outcome['answer'])} " if answered else f"{outcome['state']} ")
    head.append_text(_verdict(one.correct))
    drawn = counted(outcome["generations"], "generation")
    head.append(f"  {drawn}, {counted(outcome['attributed_tokens'], 'token')}", style="dim")
    if outcome["reason"]:
        head.append(f"  {visible(outcome['reason'])}", style="yellow")
    console.print(head)
    if len(one.rows) > 1:
        console.print(_vote(one))
        console.print(_without_vote(one), markup=False, highlight=False, style="dim")
    for row in one.rows[:count]:
        _candidate(row, one.counting, console)
    if len(one.rows) > count:
        more = counted(len(one.rows) - count, "more candidate")
        more = f"  {more}; strategy={outcome['strategy']} shows all"
        console.print(more, highlight=False, markup=False, style="dim")


def _vote(one: _Tried) -> Table:
    """The ballots, strongest first; what the rule does not ask for has no column."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    weighed = any(ballot.weight is not None for ballot in one.ballots)
    best = weighed and one.counting.rule == "best"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (
        "vote for",
        "votes",
        *(("weight",) if weighed else ()),
        *(("best",) if best else ()),
        "",
        "",
    ):
        table.add_column(name, justify="right" if name in ("votes", "weight", "best") else "left")
    correct = {row["index"]: row["correct"] for row in one.rows}
    for ballot in one.ballots:
        values = [ballot.weight] * weighed + [ballot.best] * best
        table.add_row(
            Text(_read(ballot.answer)),
            str(len(ballot.voters)),
            *("" if value is None else f"{value:.2f}" for value in values),
            _verdict(correct[ballot.speaker]),
            "chosen" if ballot.answer == one.outcome["answer"] else "",
        )
    return table


def _without_vote(one: _Tried) -> str:
    """How many candidates vote, and why the others do not."""
    voting = {index for ballot in one.ballots for index in ballot.voters}
    why: dict[str, int] = {}
    for row in one.rows:
        if row["index"] not in voting:
            reason = (
                "dropped"
                if not row["kept"]
                else "without a readable answer"
                if row["answer"] is None
                else "unfinished"
                if row["finish_reason"] != "eos"
                else "without a score"
            )
            why[reason] = why.get(reason, 0) + 1
    rest = "".join(f"; {count} {reason}" for reason, count in why.items())
    return (
        f"{len(voting)} of {counted(len(one.rows), 'candidate')} vote{'s' if len(voting) == 1 else ''}{rest}"
    )


def _candidate(row: dict[str, Any], counting: Counting, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = Text(f"candidate {row['index']}: answer {_read(row['answer'])} ")
    title.append_text(_verdict(row["correct"]))
    notes = [_ENDS.get(row["finish_reason"], str(row["finish_reason"])), counted(row["tokens"], "token")]
    value = counting.value(_candidate_of(row))
    notes += [] if value is None else [f"value {value:.2f}"]
    notes += [] if row["kept"] else ["dropped"]
    after = f"from candidate {row['parent']} after {counted(row['depth'], 'step')}"
    if not row["depth"]:
        # It shares no step with it: it is the next attempt of a chain.
        after = f"an attempt after candidate {row['parent']}"
    notes += [after] if row["parent"] >= 0 else []
    title.append(f" ({', '.join(notes)})", style="dim")
    console.print(title)
    table = Table(box=box.MINIMAL, show_header=True, pad_edge=False)
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


def _candidate_of(row: dict[str, Any]) -> Candidate:
    """What of a candidate's row has to do with votes. Parts of earlier versions have no ballots: there an answer votes with
    those that read the same."""
    answer, ballot = row["answer"], row["ballot"]
    return Candidate(
        index=row["index"],
        token_ids=(),
        step_ends=(),
        logprobs=(),
        scores=tuple(row["scores"] or ()),
        finish=row["finish_reason"],
        answer=answer if answer is None or ballot is None else Answer(answer, ballot),
        kept=row["kept"],
        parent=row["parent"],
        depth=row["depth"],
    )


def _read(answer: str | None) -> str:
    return "none could be read" if answer is None else visible(answer)


def _verdict(correct: bool | None) -> Text:
    from rich.text import Text

    word = {None: "", True: "right", False: "wrong"}[correct]
    return Text(word, style="green" if correct else "red")


def visible(text: str) -> str:
    """The text with control characters written out: what a model wrote shall not steer the terminal."""
    return "".join(
        letter if letter in "\n\t" or letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _at(values: list[float] | None, place: int) -> float:
    return values[place] if values and place < len(values) else math.nan
