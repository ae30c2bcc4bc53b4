"""What one start of a run finds to do: counted over all its problems, then streamed as tasks.

It knows problems, keys and what a folder holds, nothing of Ray. Invariant: what the folder holds already is never asked for
again, and a problem is stored before its task is given out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from actors.store.log import read_books, read_done, read_holds
from actors.strategy import Prompt, Strategy, asked_by
from actors.work import UNPAID, Task
from orchestration.problems import Problem, Quarantined, Table
from orchestration.runs.folder import known_record, read_record
from orchestration.runs.gauge import Pass, Totals
from orchestration.runs.identity import Identity, identify, outcome_key, problem_hash
from orchestration.runs.problem_store import ProblemStore, check_unchanged, stored_problems
from orchestration.runs.record import run_record
from orchestration.runs.run import InHand, Run
from orchestration.setup.budget import too_small
from orchestration.setup.contexts import Contexts
from orchestration.setup.prepare import Prepared

# Problems that are tokenised and stored at once: few files, and little waiting before the first task.
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Opened:
    """A folder that agrees to be gone on with: what its run.json said (None: it is new), what identifies the set-up, and
    what run.json is to say."""

    known: dict[str, Any] | None
    identity: Identity
    record: dict[str, Any]


def opened(prepared: Prepared) -> Opened:
    """Look whether the run may go on in its folder, and whether those that it is to reuse are runs; nothing is written.

    Raises UserError for a folder that is no run, or that holds results of another set-up.
    """
    for folder in prepared.settings.reuse:
        read_record(Path(folder), "reuse")
    known = known_record(Path(prepared.settings.folder))
    identity = identify(prepared)
    return Opened(known, identity, run_record(prepared, identity, known))


@dataclass(slots=True)
class Session:
    """What one start of a run finds to do: counts over all its problems, and rows that were skipped.

    A problem is done where each of its seeds is; `passes` are the seeds in the order of work.
    `done` are the keys that are not asked for again. Of `unpaid` outcomes that a smaller budget cut short,
    `again` are asked for. `gone` problems of the folder are not among those asked for. `spent` is what the folder's books
    were charged, and `lost` what the last start had in hand when it was cut off: in FLOPs of the budget's accounting.
    """

    passes: list[Pass] = field(default_factory=list)
    problems: int = 0
    problems_done: int = 0
    outcomes: int = 0
    outcomes_done: int = 0
    unpaid: int = 0
    again: int = 0
    gone: int = 0
    spent: int = 0
    lost: InHand = field(default_factory=InHand)
    done: set[str] = field(default_factory=set, repr=False)
    skipped: list[Quarantined] = field(default_factory=list)

    @property
    def outcomes_left(self) -> int:
        return self.outcomes - self.outcomes_done

    @property
    def charged(self) -> int:
        """What a budget has paid already, in FLOPs."""
        return self.spent + self.lost.flops

    @property
    def totals(self) -> Totals:
        passes = tuple(self.passes)
        return Totals(self.problems, self.problems_done, self.outcomes, self.outcomes_done, passes)


def survey(prepared: Prepared, identity: Identity, record: Mapping[str, Any]) -> Session:
    """Count what there is to do in the folder that `record` is run.json of, and what of it is done.

    Raises UserError where the folder holds a problem of the same id and other content, or has cost more than the budget
    while there is something to do.
    """
    folder = Path(prepared.settings.folder)
    stored = stored_problems(folder)
    reasons = read_done(folder)
    unpaid = {key for key, reason in reasons.items() if (reason or "").startswith(UNPAID)}
    done = set(reasons)
    if larger(prepared.budget, record["budget_flops"]):
        done -= unpaid
    passes = [Pass(seed) for seed in prepared.settings.seeds]
    holds = list(read_holds(folder).values())
    session = Session(
        passes,
        unpaid=len(unpaid),
        gone=len(stored),
        spent=sum(read_books(folder)),
        lost=InHand.of(holds),
        done=done,
    )
    for problem in _problems(prepared, session.skipped):
        if (content := stored.get(problem.id)) is not None:
            if content != problem_hash(problem):
                check_unchanged(folder, Run(folder).problem(problem.id), problem)
            session.gone -= 1
        missing: list[str] = []
        for one in passes:
            lacking = [key for _, key in _missing(prepared, identity, problem, one.seed, done)]
            one.problems_done += not lacking
            one.outcomes_left += len(lacking)
            missing += lacking
        outcomes = len(prepared.strategies) * len(passes)
        session.problems += 1
        session.problems_done += not missing
        session.outcomes += outcomes
        session.outcomes_done += outcomes - len(missing)
        session.again += len(unpaid.intersection(missing))
    if session.outcomes_left and prepared.budget is not None and prepared.budget < session.charged:
        why = (
            f"{folder} has spent {session.charged:,} already: give more than that, as a budget is one for all starts in a "
            "folder, or choose another folder=..."
        )
        raise too_small(prepared.settings.budget, prepared.budget, why)
    return session


def tasks(
    prepared: Prepared, identity: Identity, done: set[str], store: ProblemStore, tokenizer: Any
) -> Iterator[tuple[Task, str | None]]:
    """Stream what is missing as (task, reference answer); each problem is stored before its task is given
    out.
    """
    # Seed by seed: whoever stops early has fewer seeds of every problem, which says more than every seed of fewer.
    todo = (
        (problem, seed, missing)
        for seed in prepared.settings.seeds
        for problem in _problems(prepared, [])
        if (missing := _missing(prepared, identity, problem, seed, done))
    )
    while chunk := list(itertools.islice(todo, _CHUNK)):
        prompts = [tuple(prepared.prompt.prompt_ids(tokenizer, problem.question)) for problem, *_ in chunk]
        store.store((problem, len(ids)) for (problem, *_), ids in zip(chunk, prompts, strict=True))
        for (problem, seed, missing), ids in zip(chunk, prompts, strict=True):
            reference = prepared.grader.reference_of(problem)
            # The prompt keeps the problem's own id: draws derive from seed and problem.
            whole = partial(Task, prompt=Prompt(problem.id, ids), seed=seed)
            for name, refused, part in _parted(prepared.contexts, len(ids), missing):
                strategies, keys = zip(*part, strict=True)
                task = whole(
                    id=f"{problem.id}/{seed}{name}", strategies=strategies, keys=keys, refused=refused
                )
                yield task, reference


def _parted(
    contexts: Contexts, prompt: int, missing: list[tuple[Strategy, str]]
) -> Iterator[tuple[str, str, list[tuple[Strategy, str]]]]:
    """Part what is missing of a problem into tasks: (suffix of the task's id, why it is refused, strategies with keys)."""
    if refused := contexts.policy_refuses(prompt):
        yield "", refused, missing
        return
    # Who asks no verifier has an outcome that no verifier may change.
    refused = contexts.verifier_refuses(prompt)
    scored = [one for one in missing if refused and one[0].uses_verifier]
    if rest := [one for one in missing if one not in scored]:
        yield "", "", rest
    if scored:
        yield "/scored", refused, scored


def _missing(
    prepared: Prepared, identity: Identity, problem: Problem, seed: int, done: set[str]
) -> list[tuple[Strategy, str]]:
    content = problem_hash(problem)
    keyed = (
        (one, outcome_key(content, one.text, asked_by(one), seed, identity)) for one in prepared.strategies
    )
    return [(strategy, key) for strategy, key in keyed if key not in done]


def _problems(prepared: Prepared, skipped: list[Quarantined]) -> Iterator[Problem]:
    """The problems; rows of a table that are none go to `skipped`."""
    if not isinstance(prepared.dataset, Table):
        yield from prepared.dataset
        return
    for row in prepared.dataset.rows():
        if isinstance(row, Problem):
            yield row
        else:
            skipped.append(row)


def larger(budget: int | None, known: int | None) -> bool:
    """Whether a budget is larger than the one that a folder knew (None: unlimited)."""
    return known is not None and (budget is None or budget > known)
