"""A plan as tables: the best strategy by difficulty, the value table cell by cell, and how far its chances can be believed.

It knows plans, nothing of how they are made. Invariant: every number is one of the plan's, or follows from them alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.errors import counted
from orchestration.allocation.choices import Solver, reserve_prices
from orchestration.allocation.plan import Plan
from orchestration.allocation.price import Chooser
from orchestration.allocation.value_table import JUDGED, PROMPT, START, UNDRAWN, Stage, work_of
from orchestration.report.tables import Cells, between, percent, points, scientific

BEST = (
    "bin",
    "N",
    "best strategy",
    "accuracy",
    "interval",
    "problems",
    "runner-up",
    "behind",
    "interval of it",
    "",
)


def best_cells(plan: Plan) -> Cells:
    """The paper's table: for each bin (1: easiest) and budget the choice, how right it is on problems that had no part in it,
    and whether the runner-up differs outside noise."""
    return [
        [
            str(pick.bin),
            str(pick.n),
            pick.strategy,
            percent(pick.accuracy),
            between(pick.low, pick.high),
            f"{pick.problems:,}",
            pick.runner_up or "-",
            points(0.0 - pick.behind) if pick.runner_up else "-",
            f"{points(0.0 - pick.behind_high)} to {points(0.0 - pick.behind_low)}" if pick.runner_up else "-",
            "outside noise" if pick.runner_up and pick.behind_low > 0 else "within noise",
        ]
        for pick in sorted(plan.picks, key=lambda pick: (pick.n, pick.bin))
    ]


VALUE = ("stage", "cell", "right now", "problems", "goes on below", "by")


def value_cells(plan: Plan) -> Cells:
    """Each state: the chance that its answer is right, from how many problems that is told, and the price of a FLOP below
    which it is worth going on, with what is then taken first."""
    table = plan.table
    solver = Solver(table, floor=False)
    chooser, reserves = Chooser(table, floor=False), reserve_prices(solver)
    cells = []
    for state, reserve in enumerate(reserves.tolist()):
        stage, cell = table.of(state)
        # Just below: there the first option is worth its FLOPs.
        option = chooser.decide(state, reserve * 0.999).option if reserve > 0 else None
        cells.append(
            [
                stage_name(stage.name),
                cell_name(stage, cell),
                percent(stage.right[cell]) if stage.name not in UNDRAWN else "-",
                f"{stage.problems[cell]:,.0f}",
                scientific(reserve) if option else "never",
                stage_name(option) if option else "-",
            ]
        )
    return cells


def cell_name(stage: Stage, cell: int) -> str:
    """A cell for people, and which group of prompts is in it, where they are in groups."""
    group = next(at for at, cells in enumerate(stage.groups) if cell in cells)
    return in_group(f"{cell + 1} of {stage.cells}", stage, group)


def in_group(name: str, stage: Stage, group: int) -> str:
    """A name with the group of prompts that it is of, where a stage has several."""
    return name if len(stage.groups) == 1 else f"{name}, prompt {group + 1} of {len(stage.groups)}"


def stage_name(name: str) -> str:
    """A stage for people."""
    if name == START:
        return "nothing drawn"
    if name == PROMPT:
        return "prompt judged"
    if name.startswith(JUDGED):
        return f"{stage_name(work_of(name))}, prompt judged"
    return f"{name} sample{'' if name == '1' else 's'}" if name.isdigit() else name


DIFFICULTY = "difficulty"
"""The stage of the one decision of a prompt that goes by its bin: its cell is the bin, its chance the mean value."""

DECISIONS = ("stood at", "cell", "chance to be right", "price of a FLOP", "did", "gain", "FLOPs")


def decision_cells(
    steps: Sequence[tuple[str, int, float, float, str | None, float, int]],
) -> Cells:
    """Decisions of one prompt in their order: stage, cell (from 0), chance, price, option, gain and FLOPs of each."""
    return [
        [
            stage_name(stage),
            # By its bin: a plan for the same number of generations everywhere.
            f"bin {cell}" if stage == DIFFICULTY else str(cell + 1),
            percent(chance) if stage not in UNDRAWN else "-",
            scientific(price),
            "stopped" if option is None else stage_name(option),
            "-" if option is None else points(gain),
            "-" if option is None else scientific(float(flops)),
        ]
        for stage, cell, chance, price, option, gain, flops in steps
    ]


CALIBRATION = ("told", "was right", "problems")


def calibration_cells(plan: Plan) -> Cells:
    """Chances as they were told, on problems that the table was not fitted to, and how often that came true."""
    return [[percent(one.told), percent(one.right), f"{one.problems:,.0f}"] for one in plan.calibration]


def calibration_error(plan: Plan) -> float:
    """The mean distance of what was told from what came, over states."""
    worth = sum(one.problems for one in plan.calibration)
    if not worth:
        return float("nan")
    return sum(abs(one.told - one.right) * one.problems for one in plan.calibration) / worth


def about(plan: Plan) -> list[str]:
    """What a plan was made of, in lines."""
    made = plan.made
    models = ", ".join(f"{role} {files[:8]}" for role, files in made.models.items())
    lines = [
        f"made on {made.day} from {made.problems:,} problems ({made.data}; {made.data_hash[:8]}), each in "
        f"{counted(made.orders, 'order')} of its samples",
        f"models by their files: {models}; grader {made.grader}; FLOPs by the accounting {made.unit}",
        f"offers {', '.join(map(str, plan.offer.samples))} samples"
        + (f"; {', '.join(plan.offer.searches)}" if plan.offer.searches else "; no searches"),
    ]
    if plan.offer.prompt:
        cuts = ", ".join(f"{one:.3g}" for one in plan.table.thresholds) or "nothing"
        lines.append(
            f"the verifier may judge a prompt first, which is paid like all else; its value, cut at {cuts}, makes groups of "
            "prompts (prompt 1: hardest)"
        )
    if plan.difficulty is not None:
        cuts = ", ".join(f"{one:.3g}" for one in plan.difficulty.thresholds)
        told = (
            f"its first {counted(plan.difficulty.samples, 'sample')}: the mean of the verifier's final values"
        )
        if plan.difficulty.of_prompt:
            told = "the prompt alone: the verifier's value of it"
        lines.append(f"a problem's bin is told from {told}, cut at {cuts} (bin 1: easiest)")
    return lines
