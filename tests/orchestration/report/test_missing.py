"""What did not run has no number, and takes none from the others: outcomes that were quarantined or not paid for, and sets of
samples at any temperature."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestration.report.write import Report, make_report
from orchestration.runs.run import Run
from orchestration.setup.settings import ReportSettings
from tests.support.handmade import rewritten, write_run
from tests.support.log_files import ledger_part

PROBLEMS = 30
REASONS = {"quarantined": "ValueError: the verifier gave nan", "unaffordable": "the budget ended before it"}


def failed(folder: Path, lost: dict[tuple[str, str], str]) -> Path:
    """A run in which some strategies did not run on some problems (both by name, "*": on all): how each ended."""

    def outcome(row: dict[str, Any]) -> Any:
        state = lost.get((row["strategy"], row["problem_id"]), lost.get((row["strategy"], "*")))
        # As the run writer has it: no answer is no right answer.
        nothing = dict.fromkeys(("generations", "kept_tokens", "attributed_tokens", "attributed_flops"), 0)
        ended = {"state": state, "reason": REASONS[state], "answer": None, "correct": False} if state else {}
        return nothing | ended if state else None

    return rewritten(folder, outcome, str)


def reported(folder: Path, **settings: Any) -> tuple[Report, dict[str, dict[str, str]], str]:
    """The report, its table by strategy, and its text."""
    report = make_report(Run(folder), ReportSettings(figures=[], **settings))
    with (folder / "report" / "table.csv").open() as file:
        rows = {row["strategy"]: row for row in csv.DictReader(file)}
    return report, rows, (folder / "report" / "report.md").read_text()


def test_a_budget_that_ends_before_all_of_it_is_spent_says_why(tmp_path: Path) -> None:
    folder = failed(write_run(tmp_path / "run", problems=3), {("majority(n=4)", "*"): "unaffordable"})
    ledger_part(folder, 1, [{"purpose": "policy", "kind": "kept", "flops": 580}])
    told = {"budget_flops": 1000, "candidate_flops": 430, "identity": {"verifier": "c3", "max_tokens": 512}}
    (folder / "run.json").write_text(json.dumps(Run(folder).info | told))
    report, _, text = reported(folder)
    line = (
        "The budget cut 3 outcomes short, 3 of them before their first candidate. 58% of it is spent: what starts has to be "
        "paid at its worst, and a candidate of policy.max_tokens = 512 tokens, scored, may take 4.30e2 FLOPs, of 4.20e2 "
        "left. A lower policy.max_tokens, in another folder, leaves less over. With a larger budget the same command goes on "
        "with them."
    )
    assert line in text
    console = Console(file=io.StringIO(), width=1000)
    report.show(console)
    assert line in console.file.getvalue()  # type: ignore[attr-defined]
    # An earlier version did not say what a candidate needs.
    (folder / "run.json").write_text(json.dumps(Run(folder).info | {"candidate_flops": None}))
    assert "before their first candidate. With a larger budget" in reported(folder)[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return reported(write_run(tmp_path_factory.mktemp("runs") / "whole", problems=PROBLEMS, lengths=False))[1]


@pytest.mark.parametrize("state", ["quarantined", "unaffordable"])
def test_one_outcome_that_did_not_run_takes_nothing_from_the_others(
    whole: dict[str, dict[str, str]], tmp_path: Path, state: str
) -> None:
    folder = write_run(tmp_path / "one", problems=PROBLEMS, lengths=False)
    failed(folder, {("best_of_n(n=16)", "p0007"): state, ("greedy", "p0007"): state})
    report, rows, text = reported(folder, pairs=["greedy vs best_of_n(n=16)", "majority(n=8) vs pass(n=8)"])
    assert rows.keys() == whole.keys()
    assert all(row["accuracy"] for row in rows.values())
    assert "AUROC within a question" in text
    assert "The same samples, chosen otherwise" in text
    assert {point.x for point in report.measures.difficulty} == {1, 2, 3, 4, 5}
    # Told over the problems that there are, with their number.
    assert {
        rows[name]["problems"] for name in ("greedy", "best_of_n(n=16)", "majority(n=8)", "pass(n=4)")
    } == {"29"}
    assert {rows[name]["problems"] for name in ("majority(n=16)", "best_of_n(n=4)", "beam(n=4,width=4)")} == {
        "30"
    }
    assert "| greedy | 29 of 30 | 1 |" in text
    assert [one.estimate.problems for one in report.measures.differences[-2:]] == [29, 29]
    # Nobody is flattered silently.
    [note] = [note for note in report.measures.notes if "have no answer" in note]
    share = float(rows["greedy"]["accuracy"]) * 29 / 30
    word = {"quarantined": "quarantined", "unaffordable": "not paid for"}[state]
    assert f"greedy on 1 of 30 (1 {word}; {100 * share:.1f}% if they count as wrong)" in note
    assert float(rows["greedy"]["accuracy_missing_wrong"]) == pytest.approx(share)
    assert rows["majority(n=16)"]["accuracy_missing_wrong"] == ""


def test_what_ran_on_nothing_has_no_number(whole: dict[str, dict[str, str]], tmp_path: Path) -> None:
    folder = write_run(tmp_path / "none", problems=PROBLEMS, lengths=False)
    failed(folder, {("beam(n=16,width=4)", "*"): "quarantined", ("majority(n=4)", "*"): "unaffordable"})
    report, rows, text = reported(folder, pairs=["beam(n=16) vs greedy"])
    for name, n in (("beam(n=16,width=4)", 16), ("majority(n=4)", 4)):
        assert f"| {name} | 0 of 30 | {n} | - | - | - | - | - | - | - | - |" in text
        empty = ("accuracy", "accuracy_low", "tokens", "flops", "wasted", "truncated", "seconds")
        empty += ("accuracy_missing_wrong",)
        assert {rows[name][column] for column in empty} == {""}
    assert {one.correct for one in Run(folder).results() if one.answer is None} == {None}
    changed = {"beam(n=16,width=4)", "majority(n=4)"}
    assert {name: row["accuracy"] for name, row in rows.items() if name not in changed} == {
        name: row["accuracy"] for name, row in whole.items() if name not in changed
    }
    assert "| beam(n=16,width=4) | greedy | 0 | - | - |  |" in text
    console = Console(width=160, file=io.StringIO())
    report.show(console)
    [line] = [
        line
        for line in console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        if line.strip().startswith("beam(n=16,width=4)") and "0 of 30" in line
    ]
    assert "%" not in line
    assert "beam(n=16,width=4) on 30 of 30 (30 quarantined)" in report.measures.notes[1]


def test_figures_are_drawn_without_what_has_no_number(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "drawn", problems=PROBLEMS, lengths=False)
    failed(folder, {("beam(n=16,width=4)", "*"): "quarantined", ("beam(n=4,width=4)", "*"): "quarantined"})
    report = make_report(Run(folder), ReportSettings(figures=["svg"]))
    names = {path.stem for path in report.paths if path.suffix == ".svg"}
    assert names == {"accuracy_generations", "accuracy_flops", "accuracy_difficulty", "spread"}


def test_a_temperature_that_all_share_takes_nothing(whole: dict[str, dict[str, str]], tmp_path: Path) -> None:
    def hot(text: str) -> str:
        return text.replace(")", ",temperature=0.7)") if "(" in text else text

    folder = write_run(tmp_path / "hot", problems=PROBLEMS, lengths=False)
    rewritten(folder, lambda _: None, hot)
    report, rows, text = reported(
        folder, pairs=["best_of_n(n=8,temperature=0.7) vs pass(n=8,temperature=0.7)"]
    )
    assert {name: row["accuracy"] for name, row in rows.items()} == {
        hot(name): row["accuracy"] for name, row in whole.items()
    }
    assert "| pass@N (a perfect choice), temperature=0.7 |" in text
    assert "AUROC within a question" in text
    assert report.measures.difficulty
    assert {one.b for one in report.measures.differences} >= {
        "majority(n=1,temperature=0.7)",
        "majority(n=16,temperature=0.7)",
        "pass(n=8,temperature=0.7)",
    }


def test_samples_of_two_temperatures_are_not_mixed(whole: dict[str, dict[str, str]], tmp_path: Path) -> None:
    cold = {f"majority(n={n})": f"majority(n={n},temperature=0.5)" for n in (1, 4)}
    folder = write_run(tmp_path / "two", problems=PROBLEMS, lengths=False)
    rewritten(folder, lambda _: None, lambda text: cold.get(text, text))
    report, rows, _ = reported(folder)
    assert {rows[name]["estimated_from"] for name in cold.values()} == {"0"}
    assert rows["majority(n=8)"]["accuracy"] == whole["majority(n=8)"]["accuracy"]
    assert any("Not so majority(n=1,temperature=0.5)" in note for note in report.measures.notes)


def test_a_larger_set_that_mostly_failed_gives_way(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "poor", problems=PROBLEMS, lengths=False)
    lost = {
        (f"{name}(n=16)", f"p{one:04d}"): "unaffordable"
        for name in ("best_of_n", "majority")
        for one in range(22)
    }
    report, rows, _ = reported(failed(folder, lost))
    assert {row["estimated_from"] for row in rows.values()} == {"0", "4"}
    assert (rows["majority(n=16)"]["problems"], rows["majority(n=16)"]["asked"]) == ("8", "30")
    assert {rows[name]["problems"] for name in ("majority(n=2)", "best_of_n(n=4)", "pass(n=4)")} == {"30"}
    assert not any(math.isnan(row.accuracy.mean) for row in report.measures.rows)


def test_tracebacks_stand_in_the_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "traced", problems=3)
    lines = [f"  line {number} of `mine.py`" for number in range(250)]
    (folder / "failures.log").write_text("\n".join(["Traceback:", *lines]))
    assert "## Failures" not in reported(folder)[2], "what failed once has been made again since"
    text = reported(failed(folder, {("greedy", "p0001"): "quarantined"}))[2]
    assert "The first 200 lines: the file has more." in text
    assert "\n    Traceback:\n      line 0 of `mine.py`\n" in text
    assert "line 198 of" in text
    assert "line 199 of" not in text
