"""An evaluation from prepared settings to a finished run folder: go on where it stopped, stream, record.

It knows the runtime's driver API and nothing of terminals. Invariant: nothing is spent before the folder has
agreed to be gone on with, and what the folder holds already is never asked for again.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from actors.engines.base import EngineName
from actors.engines.identity import tokenizer_hash
from actors.engines.plan import ModelPlan
from actors.engines.verifiers.custom import Target
from actors.store.log import (
    FolderLock,
    read_books,
    read_done,
    read_holds,
    segments,
)
from actors.store.writer import RunWriter
from actors.strategy import Prompt, Strategy
from actors.work import UNPAID, Progress, Task
from orchestration.allocation import FirstCome
from orchestration.fitness import Contexts
from orchestration.flops import generation_flops
from orchestration.gauge import Pass, Totals
from orchestration.prepare import Prepared, too_small
from orchestration.problems import Problem, Quarantined, Table
from orchestration.quarantine import write_rows
from orchestration.records import (
    books,
    identify,
    now,
    run_record,
    session_record,
    write_record,
)
from orchestration.run_folder import known_record, writing
from orchestration.runs import (
    Identity,
    ProblemStore,
    Run,
    check_unchanged,
    outcome_key,
    problem_hash,
    stored_problems,
)
from orchestration.settings import ReplicaSettings
from orchestration.status import StatusWriter, says_finished

if TYPE_CHECKING:
    from actors.cluster.placement import RunPlan
    from actors.store.writer import Retention

# Problems that are tokenised and stored at once: few files, and little waiting before the first task.
_CHUNK = 512


@dataclass(slots=True)
class Session:
    """What one start of a run finds to do: counts over all its problems, and rows that are no problems.

    A problem is done where each of its seeds is; `passes` are the seeds in the order of work.
    `done` are the keys that are not asked for again. Of `unpaid` outcomes that a smaller budget cut short,
    `again` are asked for. `gone` problems of the folder are not among those asked for. `spent` is what the folder's books
    were charged, and `lost` how many tasks, charged how much, the last start had in hand when it was cut off: in FLOPs of
    the budget's accounting.
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
    lost: tuple[int, int] = (0, 0)
    done: set[str] = field(default_factory=set, repr=False)
    skipped: list[Quarantined] = field(default_factory=list)

    @property
    def outcomes_left(self) -> int:
        return self.outcomes - self.outcomes_done

    @property
    def charged(self) -> int:
        """What a budget has paid already, in FLOPs."""
        return self.spent + self.lost[1]

    @property
    def totals(self) -> Totals:
        passes = tuple(self.passes)
        return Totals(self.problems, self.problems_done, self.outcomes, self.outcomes_done, passes)


def evaluate(
    prepared: Prepared,
    on_start: Callable[[Session], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    command: str = "",
) -> Run:
    """Run what is missing in the folder and return it. Blocks; Ctrl-C lets what is in hand end and is raised
    again. `command` is what a user gives to go on with the run, for its status.

    Raises UserError where the folder holds results of another set-up or of edited problems, or has spent the budget
    already, or the machine cannot take the replicas.
    """
    folder = Path(prepared.settings.folder)
    known = known_record(folder)
    identity = identify(prepared)
    before = known["budget_flops"] if known else prepared.budget
    record = run_record(prepared, identity, known)
    if known is not None:
        # What another driver writes is left as it is: run.json and status.json would tell of this one's failure.
        with writing(folder):
            FolderLock(folder).release()
    session = survey(prepared, identity, record)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder, session.skipped)
    write_record(folder, prepared, record)
    on_start(session)
    if session.outcomes_left:
        started = time.time()
        state = "failed"
        try:
            with _status(prepared, session, command) as status:

                def told(progress: Progress) -> None:
                    status.update(progress)
                    on_progress(progress)

                progress = _stream(prepared, identity, session.done, told)
            state = "finished"
            record |= books(folder)
            # Not where an outcome that a smaller one cut short was not asked for: it would never be again.
            if session.again == session.unpaid:
                record["budget_flops"] = prepared.budget
            record.setdefault("sessions", []).append(session_record(progress, started))
        except KeyboardInterrupt:
            state = "stopped"
            record |= books(folder)
            raise
        finally:
            write_record(folder, prepared, record | {"state": state, "updated": now()})
    else:
        if segments(folder):
            # Its last driver was killed after the last outcome, before it made parts of the log.
            RunWriter(folder, None).close()
        record |= books(folder)
        write_record(folder, prepared, record | {"state": "finished", "budget_flops": before})
        if not says_finished(folder):
            with _status(prepared, session, command):
                pass
    return Run(folder)


def _status(prepared: Prepared, session: Session, command: str) -> StatusWriter:
    settings = prepared.settings
    replicas = {"policy": settings.cluster.policy.replicas}
    if prepared.verifier_cost is not None:
        replicas["verifier"] = settings.cluster.verifier.replicas
    return StatusWriter(Path(settings.folder), session.totals, prepared.unit, replicas, command)


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
    holds = read_holds(folder).values()
    session = Session(
        passes,
        unpaid=len(unpaid),
        gone=len(stored),
        spent=sum(read_books(folder)),
        lost=(len(holds), sum(hold.flops for hold in holds)),
        done=done,
    )
    for problem in _problems(prepared, session.skipped):
        if (content := stored.get(problem.id)) is not None:
            if content != problem_hash(problem):
                check_unchanged(Run(folder), problem)
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
        (one, outcome_key(content, one.text, one.uses_verifier, seed, identity))
        for one in prepared.strategies
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


def _stream(
    prepared: Prepared, identity: Identity, done: set[str], on_progress: Callable[[Progress], None]
) -> Progress:
    from transformers import AutoTokenizer

    from actors.cluster.placement import Cluster

    settings = prepared.settings
    tokenizer = AutoTokenizer.from_pretrained(prepared.policy, local_files_only=True, trust_remote_code=False)
    store = ProblemStore(Path(settings.folder))
    with Cluster(run_plan(prepared, identity)) as cluster:
        # One that finds other files at its model's path than were hashed here says so, and never works.
        cluster.infos(first=True, on_progress=on_progress)
        return cluster.run(tasks(prepared, identity, done, store, tokenizer), on_progress)


def run_plan(prepared: Prepared, identity: Identity) -> RunPlan:
    """What the runtime needs besides the tasks."""
    from ray import cloudpickle

    from actors.cluster.placement import RunPlan
    from actors.replicas.bench import Bench
    from actors.replicas.reader import ReaderPlan

    settings = prepared.settings
    first = None
    if prepared.budget is not None:
        first = generation_flops(
            prepared.policy_cost,
            prepared.verifier_cost,
            prepared.longest_prompt,
            settings.policy.max_tokens,
            prepared.unit,
        )
    return RunPlan(
        folder=Path(settings.folder),
        policy=_model_plan(
            prepared.policy,
            settings.policy.dtype,
            settings.cluster.policy,
            (identity.policy, identity.tokenizer),
            prepared.policy_engine,
            seeded=settings.policy.reproducible,
        ),
        verifier=_verifier_plan(prepared, identity),
        bench=Bench(
            reader=ReaderPlan(prepared.policy, settings.policy.delimiter, prepared.grader),
            policy_cost=prepared.policy_cost,
            verifier_cost=prepared.verifier_cost,
            unit=prepared.unit,
            max_tokens=settings.policy.max_tokens,
            likelihoods=settings.policy.likelihoods,
            policy_salt=identity.policy_salt,
            verifier_salt=identity.verifier_salt,
            strategies=tuple((one.text, cloudpickle.dumps(one)) for one in prepared.strategies),
        ),
        allocator=FirstCome(first),
        judge=prepared.grader,
        budget=prepared.budget,
        retention=cast("Retention", settings.keep),
        address=settings.cluster.address,
        packages=prepared.packages,
        reuse=tuple(Run(folder).folder for folder in settings.reuse),
        grace=settings.cluster.grace,
    )


def _verifier_plan(prepared: Prepared, identity: Identity) -> ModelPlan | None:
    if prepared.verifier_cost is None:
        return None
    target = prepared.target
    # One of the user's own reads the policy's tokens, and may load nothing else.
    path = prepared.verifier or (target and target.path) or prepared.policy
    tokenizer = path if target is None else prepared.policy
    return _model_plan(
        path,
        prepared.settings.verifier.dtype,
        prepared.settings.cluster.verifier,
        (identity.verifier, tokenizer_hash(tokenizer)),
        prepared.verifier_engine,
        target=target,
    )


def _model_plan(
    path: Path,
    dtype: str,
    replica: ReplicaSettings,
    files: tuple[str, str],
    engine: EngineName,
    *,
    seeded: bool = True,
    target: Target | None = None,
) -> ModelPlan:
    return ModelPlan(
        path=path,
        replicas=replica.replicas,
        cpus=replica.cpus,
        gpus=replica.gpus,
        threads=replica.threads,
        max_sequences=replica.max_sequences,
        device=replica.device,
        dtype=dtype,
        files=files,
        engine=engine,
        tensor_parallel=replica.tensor_parallel,
        memory=replica.memory,
        seeded=seeded,
        target=target,
    )
