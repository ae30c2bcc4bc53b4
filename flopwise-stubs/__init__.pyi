"""The types of flopwise.py for those who install it: by PEP 561 a single module cannot carry py.typed, and a stub package
stands in for it.

It knows nothing that flopwise.py does not. Invariant: both name the same, from the same modules.
"""

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
from orchestration.api import (
    Plan,
    Report,
    ReportSettings,
    Result,
    Run,
    RunStatus,
    calibrate,
    evaluate,
    load,
    report,
    settings_of,
    status,
)
from orchestration.strategies.drawing import (
    draw,
    score,
    solution_of,
    step_logprobs,
    together,
    whole_sample,
    whole_samples,
)

__all__ = [
    "Answer",
    "Candidate",
    "Decision",
    "EngineCounters",
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
