"""Checks of settings and of the data set, and its first prompts as the policy will read them.

It knows no model but the policy's tokenizer. Invariant: what a run would refuse of them is wrong here, in the same words.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence

from actors.errors import UserError
from orchestration.doctor.case import LOOK, Case
from orchestration.doctor.findings import Finding, PromptShown, skipped
from orchestration.problems import PromptFormat, Quarantined, Table
from orchestration.setup.examples import worked_examples
from orchestration.setup.models import check_asked
from orchestration.setup.packages import importable
from orchestration.setup.plans import check_allocation
from orchestration.setup.prepare import check_known, no_problem, problems_of, strategies_of, with_file
from orchestration.setup.settings import check

SHOWN = 10
"""Prompts that are shown."""

_TEXT, _IDS = 70, 10
"""Letters and token ids of a prompt that are shown."""


def settings_found(case: Case) -> Iterator[Finding]:
    """What the settings say by themselves."""
    try:
        check(case.settings)
        importable(case.settings.cluster.packages)
        case.strategies = strategies_of(case.settings)
        check_allocation(case.settings.budget, case.strategies)
        check_asked(case.settings, case.strategies)
    except UserError as error:
        yield Finding("settings", "wrong", str(error))
        return
    count = len(case.strategies)
    what = "strategy" if count == 1 else "strategies"
    yield Finding("settings", "ok", f"{count} {what}; models that are asked: {', '.join(case.asked)}")


def data_found(case: Case) -> Iterator[Finding]:
    """The data set, its grader, and how its problems are asked."""
    try:
        check_known(case.settings, case.asked)
    except UserError as error:
        yield Finding("data", "wrong", str(error))
    try:
        case.settings = with_file(case.settings)
        case.dataset, case.grader = problems_of(case.settings.dataset)
        case.problems = tuple(itertools.islice(case.dataset, LOOK))
        if not case.problems:
            raise no_problem(case.dataset)
        shown = case.settings.policy.prompt
        examples = worked_examples(case.settings, case.grader)
        case.prompt = PromptFormat(shown.template, shown.chat, shown.system, shown.shots, examples)
    except UserError as error:
        yield Finding("data", "wrong", str(error))
        return
    rows = [*_rows(case)]
    bad = [row for row in rows if isinstance(row, Quarantined)]
    if bad:
        text = f"rows that are skipped: {len(bad):,} of {len(rows):,}; row {bad[0].row}: {bad[0].text}"
        yield Finding("data", "warning", text)
    labels = sum(case.grader.reference_of(one) is not None for one in case.problems)
    grader = case.settings.dataset.grader
    told = f"grader {grader if isinstance(grader, str) else grader.get('_target_')}"
    if labels < len(case.problems):
        told = f"{labels:,} of the first {len(case.problems):,} have an answer to be judged by"
    yield Finding("data", "ok", f"{case.dataset.description}; {told}")


def _rows(case: Case) -> Iterator[object]:
    return itertools.islice(case.dataset.rows(), LOOK) if isinstance(case.dataset, Table) else iter(())


def read_prompts(case: Case) -> str:
    """Make the ids of the first problems' prompts; what went wrong, empty where nothing did."""
    prompts = case.prompts
    if prompts is None or case.ids:
        return ""
    try:
        case.ids = tuple(prompts.ids(one.question) for one in case.problems)
    except UserError as error:
        return str(error)
    return ""


def prompts_found(case: Case) -> Iterator[Finding]:
    """The first prompts as text and ids."""
    prompts, policy = case.prompts, case.folders.get("policy")
    if prompts is None or policy is None:
        yield skipped("prompts", "the policy's files" if policy is None else "the data set")
        return
    if why := read_prompts(case):
        yield Finding("prompts", "wrong", why)
        return
    rows = tuple(
        PromptShown(one.id, len(ids), _shortened(prompts.text(ids)), _few(ids))
        for one, ids in zip(case.problems[:SHOWN], case.ids, strict=False)
    )
    first = case.ids[0]
    begins = len(first) > 1 and first[0] == first[1] and first[0] == prompts.begin
    if begins:
        token = json.dumps(prompts.text(first[:1]), ensure_ascii=False)
        text = (
            f"they begin with {token} twice, which the model never read in its training: take it out of "
            "policy.prompt.template, or out of the chat template"
        )
        yield Finding("prompts", "warning", text, prompts=rows)
        return
    text = f"the first {len(rows)} as the policy reads them"
    yield Finding(
        "prompts", "ok", text if len(rows) > 1 else "the only one as the policy reads it", prompts=rows
    )


def _shortened(text: str) -> str:
    """A text in quotes, without its middle where it is long."""
    if len(text) > _TEXT:
        text = f"{text[: _TEXT // 2]} ... {text[-_TEXT // 2 :]}"
    return json.dumps(text, ensure_ascii=False)


def _few(ids: Sequence[int]) -> str:
    shown = [*map(str, ids)]
    if len(shown) > _IDS:
        shown = [*shown[: _IDS // 2], "...", *shown[-_IDS // 2 :]]
    return " ".join(shown)
