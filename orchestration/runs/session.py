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
from typing import Any, NamedTuple, Protocol

from actors.errors import UserError
from actors.store.digests import DigestMap
from actors.store.done import Done, Ended, holds_outcomes, read_done
from actors.store.log import read_books, read_holds
from actors.strategy import Prompt, Role, Strategy, drawn_by, home_of
from actors.work import Task
from orchestration.analysis.columns import check_columns
from orchestration.problems import Dataset, Problem, Quarantined, Table
from orchestration.problems.datasets.columns import AUTO
from orchestration.problems.references import References
from orchestration.runs.folder import known_record, read_record
from orchestration.runs.gauge import Pass, Totals
from orchestration.runs.identity import (
    Identity,
    KeyMaker,
    content_hash,
    identify,
    model_hashes,
    setup_hash,
)
from orchestration.runs.pricing import price_of, unaffordable
from orchestration.runs.problem_store import (
    ProblemStore,
    edited,
    named_by_content,
    stored_columns,
    stored_problems,
)
from orchestration.runs.prompts import Longest, Prompts
from orchestration.runs.record import begins_anew, check_keys, run_record
from orchestration.runs.run import InHand
from orchestration.setup.budget import unfit
from orchestration.setup.contexts import Contexts
from orchestration.setup.memory import ReplicaMemory, check_memory, estimated, runs_here
from orchestration.setup.plans import plans_of
from orchestration.setup.prepare import Prepared

# Problems that are tokenised and stored at once: few files, and little waiting before the first task.
_CHUNK = 512

_UNPAID = (Ended.unpaid, Ended.short)


@dataclass(frozen=True, slots=True)
class Opened:
    """A folder that agrees to be gone on with: what its run.json said (None: it is new, or begun anew), what identifies the
    set-up, and what run.json is to say. `begun` says that it holds an outcome, `anew` that it holds none and what there is of
    another set-up gives way.
    """

    known: dict[str, Any] | None
    identity: Identity
    record: dict[str, Any]
    begun: bool = False
    anew: bool = False


def opened(prepared: Prepared) -> Opened:
    """Look whether the run may go on in its folder, and whether those that it is to reuse are runs; nothing is written.

    Raises UserError for a folder that is no run, or that holds results of another set-up.
    """
    for one in prepared.settings.reuse:
        check_keys(Path(one), "reuse", read_record(Path(one), "reuse"))
    folder = Path(prepared.settings.folder)
    known = known_record(folder)
    begun = known is not None and holds_outcomes(folder)
    identity = identify(prepared)
    flat = identity.flat()
    for plan, path in plans_of(prepared.strategies):
        plan.check(model_hashes(flat), identity.grader, setup_hash(flat), prepared.unit, path)
    anew = known is not None and not begun and begins_anew(prepared, identity, known)
    known = None if anew else known
    return Opened(known, identity, run_record(prepared, identity, known), begun, anew)


@dataclass(slots=True)
class Session:
    """What one start of a run finds to do: counts over all its problems, and rows that were skipped.

    A problem is done where each of its seeds is; `passes` are the seeds in the order of work.
    `done` are the outcomes that are not asked for again. Of `unpaid` outcomes that a smaller budget cut short,
    `again` are asked for, and `answered` of these have an answer; of `quarantined` outcomes among those that are
    wanted, `retried` are. `gone` problems of the folder are not among those asked for. `spent` is what the folder's
    books were charged, and `lost` what the last start had in hand when it was cut off: in FLOPs of the budget's
    accounting. `longest` are the tokens that no prompt exceeds which is still to be asked, where an engine is started
    for so many; else None. `memory` is what each replica takes with those. `stored` is what the folder's problems say,
    `prompts` makes their prompts, `anew` is as in `Opened`. `notes` are what a user should know of the data.
    """

    prompts: Prompts

    passes: list[Pass] = field(default_factory=list)
    problems: int = 0
    problems_done: int = 0
    outcomes: int = 0
    outcomes_done: int = 0
    unpaid: int = 0
    again: int = 0
    answered: int = 0
    quarantined: int = 0
    retried: int = 0
    gone: int = 0
    spent: int = 0
    lost: InHand = field(default_factory=InHand)
    longest: int | None = None
    memory: Mapping[Role, ReplicaMemory] = field(default_factory=dict)
    anew: bool = False
    done: Done = field(default_factory=Done, repr=False)
    stored: DigestMap = field(default_factory=DigestMap, repr=False)
    skipped: list[Quarantined] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

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


def survey(prepared: Prepared, start: Opened) -> Session:
    """Count what there is to do in the folder that was opened, and what of it is done. What the folder holds is asked for by
    the prompts of today, so those of its problems are made once; those of others wait for their tasks.

    Raises UserError where the folder holds a problem of the same id and other content, or none of the problems asked for, or
    has cost more than the budget while there is something to do; and where there is no memory for the longest prompt.
    """
    folder, seeds = Path(prepared.settings.folder), prepared.settings.seeds
    done = read_done(folder) if start.begun else Done()
    unpaid = sum(done.counts()[how] for how in _UNPAID)
    if larger(prepared.budget, start.record["budget_flops"]):
        done = done.without(*_UNPAID)
    if prepared.settings.retry == "quarantined":
        done = done.without(Ended.quarantined)
    stored = stored_problems(folder) if start.begun else DigestMap()
    session = Session(
        Prompts(prepared.prompt, prepared.policy.tokenizer, start.record["created"]),
        [Pass(seed) for seed in seeds],
        unpaid=unpaid,
        gone=len(stored),
        spent=0 if start.anew else sum(read_books(folder)),
        lost=InHand() if start.anew else InHand.of(list(read_holds(folder).values())),
        memory=prepared.memory,
        anew=start.anew,
        done=done,
        stored=stored,
    )
    maker = KeyMaker(prepared.strategies, start.identity)
    columns: set[str] = set()
    # Whoever stopped at a price may be asked once more.
    goes_on = price_of(prepared) is not None
    on_vllm = any(model.engine == "vllm" for model in prepared.models.values())
    longest = Longest(session.prompts) if on_vllm and prepared.contexts.limit is None else None
    references = References(
        prepared.grader, labels=isinstance(prepared.dataset, Table) and prepared.dataset.columns.labels
    )
    for problem in _problems(prepared, session.skipped, references):
        columns |= problem.metadata.keys()
        content = stored.get(problem.id)
        if content is not None:
            if content != content_hash(problem, session.prompts.ids(problem.question)):
                raise edited(folder, problem)
            session.gone -= 1
        missing = 0
        for one in session.passes:
            # A problem is stored before it is asked: of one that is not, there is nothing.
            lacking = len(prepared.strategies)
            if content is not None:
                keys = [key for _, key in maker.keys(problem.id, content, one.seed)]
                lacks = [key for key in keys if key not in done]
                session.again += sum(done.ended(key) in _UNPAID for key in lacks)
                session.answered += sum(done.answered(key) for key in lacks)
                session.quarantined += sum(done.ended(key) == Ended.quarantined for key in keys)
                session.retried += sum(done.ended(key) == Ended.quarantined for key in lacks)
                lacking = len(lacks)
            one.problems_done += not lacking
            one.outcomes_left += lacking
            missing += lacking
        if longest is not None and (missing or goes_on):
            longest.see(problem.question)
        outcomes = len(prepared.strategies) * len(seeds)
        session.problems += 1
        session.problems_done += not missing
        session.outcomes += outcomes
        session.outcomes_done += outcomes - missing
    session.longest = longest.tokens if longest is not None else prepared.contexts.limit
    if longest is not None and longest.tokens > prepared.longest_prompt:
        # Of the first problems alone it was told before.
        here = runs_here(prepared.settings.cluster)
        running = {role: model for role, model in prepared.models.items() if role in prepared.asked}
        session.memory = estimated(running, prepared.contexts, longest.tokens, here=here)
        check_memory(running, session.memory, here=here)
    session.notes += [one for one in (_as_begun(prepared)[1], *references.notes()) if one]
    if stored and session.gone == len(stored):
        which = f"none of its {len(stored):,} problems is" if len(stored) > 1 else "its only problem is not"
        mend = f"{which} in {prepared.dataset.description}, so it is a run of another data set; choose another folder=..."
        raise UserError.of("folder", str(folder), mend)
    _check_columns(prepared.settings.report.by, columns, folder, stored=bool(stored))
    if session.outcomes_left:
        # A chat template that fails, or shows no examples, does so before anything is written.
        session.prompts.note()
    if session.outcomes_left and (note := unaffordable(prepared, session.outcomes_left, session.charged)):
        session.notes.append(note)
    if (note := taken_up(prepared, start.known)) and session.problems_done:
        session.notes.append(note)
    if goes_on and session.outcomes_left and prepared.settings.keep != "all":
        keeps = f"keep={prepared.settings.keep} keeps no samples"
        session.notes.append(f"{keeps}, so no prompt that stopped goes on where some of the budget is left")
    if session.outcomes_left and prepared.budget is not None and prepared.budget < session.charged:
        why = (
            f"{folder} has spent {session.charged:,} already: give more than that, as a budget is one for all starts in a "
            "folder, or choose another folder=..."
        )
        raise unfit(prepared.settings.budget, prepared.budget, why)
    return session


def _check_columns(by: list[str], columns: set[str], folder: Path, *, stored: bool) -> None:
    """Raise UserError for a column to group by that the problems do not have, or that those in the folder do not: what is
    stored of a problem never changes."""
    if not by:
        return
    check_columns(by, columns)
    if stored and (missing := [name for name in by if name not in stored_columns(folder)]):
        mend = (
            f"the problems in {folder} were stored without this column; choose another folder=..., with reuse=[{folder}] "
            "nothing is drawn twice"
        )
        raise UserError.of("report.by", missing[0], mend)


class Held(Protocol):
    """Outcomes that a folder holds, as what is done to a stream of tasks."""

    def __contains__(self, key: object) -> bool:
        """Whether an outcome is left as it is."""

    def answered(self, key: str) -> bool:
        """Whether one that is to be made again has an answer."""


def asked(prepared: Prepared, identity: Identity, store: ProblemStore) -> Iterator[str]:
    """The keys of all outcomes that are asked for of problems that were stored before."""
    maker = KeyMaker(prepared.strategies, identity)
    for problem in _problems(prepared, []):
        if (content := store.content(problem.id)) is not None:
            for seed in prepared.settings.seeds:
                yield from (key for _, key in maker.keys(problem.id, content, seed))


def tasks(
    prepared: Prepared, identity: Identity, done: Held, store: ProblemStore, prompts: Prompts
) -> Iterator[tuple[Task, str | None]]:
    """Stream what is missing as (task, reference answer); each problem is stored before its task is given
    out.
    """
    maker = KeyMaker(prepared.strategies, identity)

    def missing(problem: Problem, content: int, seed: int) -> list[tuple[Strategy, str]]:
        return [one for one in maker.keys(problem.id, content, seed) if one[1] not in done]

    # Seed by seed: whoever stops early has fewer seeds of every problem, which says more than every seed of fewer.
    todo = (
        (problem, seed)
        for seed in prepared.settings.seeds
        for problem in _problems(prepared, [])
        if (content := store.content(problem.id)) is None or missing(problem, content, seed)
    )
    while chunk := list(itertools.islice(todo, _CHUNK)):
        prompted = [(problem, prompts.ids(problem.question)) for problem, _ in chunk]
        contents = store.store(prompted, prompts.text)
        for (problem, ids), (_, seed), content in zip(prompted, chunk, contents, strict=True):
            reference = prepared.grader.reference_of(problem)
            # The prompt keeps the problem's own id: draws derive from seed and problem.
            prompt = Prompt(problem.id, ids, problem.question if prepared.reads_texts else "")
            whole = partial(Task, prompt=prompt, seed=seed)
            for part in _parted(prepared.contexts, len(ids), missing(problem, content, seed)):
                strategies, keys = zip(*part.missing, strict=True)
                answered = frozenset(key for key in keys if done.answered(key))
                task = whole(
                    id=f"{problem.id}/{seed}{part.name}",
                    strategies=strategies,
                    keys=keys,
                    refused=part.refused,
                    home=part.home,
                    answered=answered,
                )
                yield task, reference


class _Part(NamedTuple):
    """A task of a problem: what its id ends with, why it is refused, where it lives, its strategies with keys."""

    name: str
    refused: str
    home: Role
    missing: list[tuple[Strategy, str]]


def _parted(contexts: Contexts, prompt: int, missing: list[tuple[Strategy, str]]) -> Iterator[_Part]:
    """Part what is missing of a problem into tasks."""
    if refused := contexts.policy_refuses(prompt):
        yield _Part("", refused, "policy", missing)
        return
    unrevised = contexts.reviser_refuses(prompt)
    parts: dict[tuple[str, Role, str], list[tuple[Strategy, str]]] = {}
    for one in missing:
        home, drawing = home_of(one[0]), drawn_by(one[0])
        name, refused = ("/revised", unrevised) if home == "reviser" else ("", "")
        if home == "policy" and "reviser" in drawing and unrevised:
            # Apart from what the policy solves alone, which is not refused for it.
            name, refused = "/both", unrevised
        # A solution of the reviser has all the room that there may be.
        unscored = contexts.verifier_refuses(prompt, "reviser" if "reviser" in drawing else "policy")
        # Who asks no verifier has an outcome that no verifier may change.
        if unscored and not refused and one[0].uses_verifier:
            name, refused = f"{name}/scored", unscored
        parts.setdefault((name, home, refused), []).append(one)
    for (name, home, refused), mine in parts.items():
        yield _Part(name, refused, home, mine)


def _problems(
    prepared: Prepared, skipped: list[Quarantined], references: References | None = None
) -> Iterator[Problem]:
    """The problems; rows of a table that are none go to `skipped`, and what the others are judged by to `references`."""
    dataset, _ = _as_begun(prepared)
    if not isinstance(dataset, Table):
        yield from dataset
        return
    for place, row in enumerate(dataset.rows()):
        if isinstance(row, Problem):
            if references is not None:
                references.look(place, row.answer)
            yield row
        else:
            skipped.append(row)


def _as_begun(prepared: Prepared) -> tuple[Dataset, str]:
    """The data set with its problems named as in the folder, so that a column of ids that came later, or was not taken by
    an earlier version, makes no other problems of them; and what there is to say of it."""
    table, folder = prepared.dataset, Path(prepared.settings.folder)
    if not isinstance(table, Table) or prepared.settings.dataset.columns.id != AUTO:
        return table, ""
    made = named_by_content(folder)
    if made and table.columns.id is not None:
        new = f"a new folder names them by column {table.columns.id!r}"
        return table.named_by(None), f"{folder} names its problems by their content, and goes on so; {new}"
    if made is False and table.columns.id is None and table.note:
        return table.named_by("id"), ""
    return table, table.note


def taken_up(prepared: Prepared, known: Mapping[str, Any] | None) -> str:
    """Why prompts that stopped at a price may go on although nothing else is to do; empty where they do not: the folder is
    new, its last start came to its end, and this budget is no larger."""
    if known is None or price_of(prepared) is None or prepared.settings.keep != "all":
        return ""
    if larger(prepared.budget, known["budget_flops"]):
        return "with the larger budget prompts that had stopped go on where that buys something"
    if known.get("state") != "finished":
        return "prompts that had stopped go on where what is left of the budget buys something"
    return ""


def larger(budget: int | None, known: int | None) -> bool:
    """Whether a budget is larger than the one that a folder knew (None: unlimited)."""
    return known is not None and (budget is None or budget > known)
