"""flopwise from Python: start and read runs, and write strategies and verifiers of your own.

    import flopwise

    run = flopwise.evaluate(["greedy", "majority(n=16)"], dataset="countdown", count=50, folder="runs/mine")
    for row in flopwise.report(run).measures.rows:
        print(row.strategy, row.accuracy.mean, row.flops)
    for result in run.results():
        print(result.answer, result.correct)
    print(flopwise.status("runs/mine").state)

A run is a folder. `evaluate` starts one or goes on with it, `load` reads one, finished or not, `status` says how it stands.
`calibrate` runs a sweep and fits a `Plan` to it, which says how much a prompt should get (docs/allocation.md). `doctor` says
before a run whether its set-up is sound, a `Finding` a check.

A strategy of your own is any object that fits `Strategy`: its `solve` is handed a `Prompt` and `Models`, draws with
`whole_samples`, or piece by piece with `draw` and `score`, and returns a `Solution`. A verifier of your own is any object
that fits `Scorer`: it answers a `ScoreRequest` with `Scores`. docs/extending.md has one of each. A grader of your own
(docs/graders.md) may give an `Answer`, a text that says which others it votes with; `models.reader.answer` gives one, too.

What is raised on purpose:

    Exception
    ├── UserError     a mistake that you can mend: it names the setting, its value, and what to do
    └── PurseEmpty    the budget allows no further request: raised to a strategy, never to the caller of `evaluate`

It does no work of its own. Invariant: README and docs import nothing else of flopwise, and importing it loads no torch, no
Ray and no pyarrow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

# Until flopwise's packages are imported: a module of the user's may have the name of one, in the folder of a script.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from actors.engines.base import EngineCounters, ScoreRequest, Scores
from actors.engines.verifiers.custom import Scorer
from actors.errors import UserError
from actors.strategy import (
    Answer,
    Candidate,
    Decision,
    Forecast,
    Grouping,
    Market,
    Models,
    PolicyClient,
    Prompt,
    PurseEmpty,
    Reader,
    ReviserClient,
    Sample,
    Sampling,
    Solution,
    Strategy,
    Terms,
    VerifierClient,
)
from actors.work import Progress
from orchestration.strategies.drawing import (
    draw,
    score,
    solution_of,
    step_logprobs,
    together,
    whole_sample,
    whole_samples,
)

sys.path.remove(str(Path(__file__).resolve().parent))

__all__ = [
    "Answer",
    "Candidate",
    "Decision",
    "EngineCounters",
    "Finding",
    "Forecast",
    "Grouping",
    "Market",
    "Models",
    "Plan",
    "PolicyClient",
    "Progress",
    "Prompt",
    "PurseEmpty",
    "Reader",
    "Report",
    "ReportSettings",
    "Result",
    "ReviserClient",
    "Run",
    "RunStatus",
    "Sample",
    "Sampling",
    "ScoreRequest",
    "Scorer",
    "Scores",
    "Solution",
    "Strategy",
    "Terms",
    "UserError",
    "VerifierClient",
    "calibrate",
    "doctor",
    "draw",
    "evaluate",
    "load",
    "report",
    "score",
    "settings_of",
    "solution_of",
    "status",
    "step_logprobs",
    "together",
    "whole_sample",
    "whole_samples",
]

if TYPE_CHECKING:
    from orchestration.api import (
        Finding,
        Plan,
        Report,
        ReportSettings,
        Result,
        Run,
        RunStatus,
        calibrate,
        doctor,
        evaluate,
        load,
        report,
        settings_of,
        status,
    )
else:

    def __getattr__(name):
        """What starts and reads runs, loaded when it is first asked for: every worker imports a user's strategy, and needs
        none of it (110 MB, half a second)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from orchestration import api

        return globals().setdefault(name, getattr(api, name))

    def __dir__():
        return sorted({*globals(), *__all__})


if __name__ == "__main__":
    from orchestration.commands.main import main

    raise SystemExit(main())
