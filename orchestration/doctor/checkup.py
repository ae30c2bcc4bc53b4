"""All checks of a set-up, in order.

It knows no console. Invariant: a check that fails ends none of the others; what cannot be looked at then is said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestration.doctor.case import Case
from orchestration.doctor.data import data_found, prompts_found, settings_found
from orchestration.doctor.findings import Finding
from orchestration.doctor.fits import contexts_found, memory_found, run_found
from orchestration.doctor.models import files_found, steps_found, tokenizers_found
from orchestration.doctor.trial import generation_found, pair_found
from orchestration.setup.settings import EvaluateSettings

CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    settings_found,
    data_found,
    files_found,
    tokenizers_found,
    steps_found,
    contexts_found,
    memory_found,
    run_found,
    prompts_found,
    pair_found,
    generation_found,
)


def checkup(settings: EvaluateSettings) -> Iterator[Finding]:
    """What each check finds of a set-up, as it is found; the last ones load models."""
    case = Case(settings)
    for check in CHECKS:
        for finding in check(case):
            case.marks.append(finding.mark)
            yield finding
