"""`flopwise calibrate [RUN]`: draw what a plan is learnt from, or take a run that is there; fit the plan, write and show it.

A thin driver: the sweep is an evaluation, the fit is `orchestration.planning`'s. Invariant: whatever is too little to learn
from is refused before anything is drawn, as far as it can be known by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actors.errors import UserError
from orchestration.commands.arguments import options_of, shell, terminal
from orchestration.commands.helptext import help_of
from orchestration.setup.compose import compose

if TYPE_CHECKING:
    from rich.console import Console

    from orchestration.planning.calibration import CalibrateSettings
    from orchestration.runs.run import Run


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, rest = options_of(words, ("--help", "--dry-run"))
    given = [word for word in rest if "=" in word]
    if "--help" in options:
        print(help_of("calibrate", given))
        return 0
    from orchestration.planning.calibration import CalibrateSettings, check_plan
    from orchestration.runs.run import Run

    places = [word for word in rest if "=" not in word]
    if len(places) > 1 or (places and "--dry-run" in options):
        raise UserError(
            "name one run to fit to, or none to draw one, as in: flopwise calibrate runs/calibrate"
        )
    if places:
        _refuse(given)
    settings = compose("calibrate", given, CalibrateSettings)
    check_plan(settings.plan)
    console = terminal()
    if places:
        return _fit(Run(places[0]), settings, console)
    return _sweep(settings, "--dry-run" in options, shell(["calibrate", *words]), console)


def _refuse(given: Sequence[str]) -> None:
    """Raise UserError for a setting that draws something: a run that is there was drawn."""
    for word in given:
        key = word.partition("=")[0]
        if key != "out" and key.split(".")[0] != "plan":
            raise UserError(
                f"{word!r}: a run that is named is fitted to as it is; it takes plan.* and out alone"
            )


def _sweep(settings: CalibrateSettings, dry: bool, command: str, console: Console) -> int:
    from orchestration.commands.evaluate import QUARANTINED, View, carry_out, not_begun
    from orchestration.planning.calibration import check_sweep
    from orchestration.setup.prepare import prepare

    try:
        prepared = prepare(settings.sweep)
        check_sweep(prepared, settings.plan.difficulty)
    except KeyboardInterrupt:
        return not_begun(command)
    if dry:
        from orchestration.commands.dry_run import show_plan

        show_plan(prepared, console)
        return 0
    view = View(prepared, console, "fitting the plan")
    found = carry_out(view, command)
    if isinstance(found, int):
        return found
    code = _fit(found, settings, console)
    return QUARANTINED if view.quarantined and not code else code


def _fit(run: Run, settings: CalibrateSettings, console: Console) -> int:
    from orchestration.commands.explain import show_plan
    from orchestration.commands.steps import Steps
    from orchestration.planning.calibration import make_plan, write_plan

    path = settings.path(run.folder)
    notes: list[str] = []
    with Steps(console) as steps:
        plan = make_plan(run, settings.plan, steps.tell, notes.append)
    write_plan(plan, path)
    show_plan(plan, console)
    for line in notes:
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    console.print(f"plan {path}", highlight=False, soft_wrap=True)
    return 0
