"""Checks of what has to fit: prompts and solutions into contexts, models into memory, replicas onto the machine.

It tells all of it from files and settings, before anything is loaded. Invariant: what is refused here is refused by the
checks of a run, and whatever else may be tight is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from actors.engines.plan import ReplicaShare
from actors.errors import UserError, counted
from actors.strategy import Role
from orchestration.doctor.case import LOOK, Case
from orchestration.doctor.data import read_prompts
from orchestration.doctor.findings import Finding, skipped
from orchestration.runs.session import opened
from orchestration.setup.contexts import Contexts, check_contexts
from orchestration.setup.footprint import shared_gpu
from orchestration.setup.machine import check_machine
from orchestration.setup.memory import check_memory, check_sharing, estimated, runs_here
from orchestration.setup.models import check_engines, too_long_for
from orchestration.setup.prepare import contexts_of, paths_of, prepare
from orchestration.setup.revising import Framed, read_framing, read_judging


def contexts_found(case: Case) -> Iterator[Finding]:
    """Prompts of the data set and solutions of policy.max_tokens against what each model takes."""
    settings = case.settings
    if "policy" not in case.models or case.prompt is None:
        yield skipped("contexts", "the data set" if "policy" in case.models else "the policy")
        return
    if read_prompts(case):
        yield skipped("contexts", "no prompt can be made")
        return
    lengths = [len(ids) for ids in case.ids]
    try:
        framed: dict[Role, Framed | None] = {
            "reviser": read_framing(settings, case.models),
            "verifier": read_judging(settings, case.models),
        }
        contexts = contexts_of(settings, case.strategies, case.models, framed)
        check_contexts(lengths, contexts, paths_of(settings), settings.policy.prompt.shots)
    except UserError as error:
        yield Finding("contexts", "wrong", str(error))
        return
    case.contexts = contexts
    refused = [why for length in lengths if (why := _refused(contexts, length))]
    which = (
        f"of the first {len(lengths):,} prompts" if len(lengths) == LOOK else f"of {len(lengths):,} prompts"
    )
    if refused:
        text = f"{len(refused):,} {which} are left out (quarantined): {refused[0]}"
        yield Finding("contexts", "warning", text)
    questions = (one.question for one in case.problems)
    if why := too_long_for(case.models.get("verifier"), questions, contexts.most):
        yield Finding("contexts", "warning", why)
    takes = ", ".join(
        f"{role} {'-' if size is None else f'{size:,}'}" for role, size in contexts.tokens.items()
    )
    text = f"the longest {which} has {counted(max(lengths), 'token')}, a solution up to {contexts.most:,}; {takes}"
    if not refused:
        yield Finding("contexts", "ok", text)


def _refused(contexts: Contexts, length: int) -> str:
    """Why a prompt is left out by some strategy; empty where by none."""
    found = contexts.policy_refuses(length)
    if not found and "reviser" in contexts.tokens:
        found = contexts.reviser_refuses(length)
    if not found and "verifier" in contexts.tokens:
        found = contexts.verifier_refuses(length)
    return found


def memory_found(case: Case) -> Iterator[Finding]:
    """Weights, keys and values of each replica against what its device has."""
    here = runs_here(case.settings.cluster)
    running = {role: one for role, one in case.models.items() if role in case.asked}
    shares = {role: one.share for role, one in running.items()}
    try:
        crowded = check_sharing(running)
        check_machine(case.settings.cluster, shares)
        if "policy" in case.models:
            check_engines(case.settings, case.models)
    except UserError as error:
        yield Finding("machine", "wrong", str(error))
    else:
        if crowded:
            yield Finding("machine", "warning", crowded)
        yield Finding("machine", "ok", _machine(shares, here))
    if case.contexts is None:
        yield skipped("memory", "contexts are not known")
        return
    memory = estimated(running, case.contexts, max(map(len, case.ids)), here=here)
    try:
        tight = check_memory(running, memory, here=here)
    except UserError as error:
        yield Finding("memory", "wrong", str(error))
        return
    if tight:
        yield Finding("memory", "warning", tight)
    for role, one in memory.items():
        yield Finding("memory", "ok", f"{role}: {one.told}")


def _machine(shares: Mapping[Role, ReplicaShare], here: bool) -> str:
    """What the replicas take, and what Ray may put on one GPU of it."""
    asked = [
        f"{role} {one.replicas} x {counted(one.cpus, 'CPU')}"
        + (f" and {counted(one.gpus, 'GPU')}" if one.gpus else "")
        for role, one in shares.items()
    ]
    where = "this machine has room" if here else "on a cluster, whose machines are not looked at"
    on_one = shared_gpu(shares)
    text = f"{', '.join(asked)}; {where}"
    return text + (
        f"; on one GPU {on_one.told}, which take {on_one.share:.2f} of its memory" if on_one.replicas else ""
    )


def run_found(case: Case) -> Iterator[Finding]:
    """Whatever else a run would refuse or say: budget, plan, its folder."""
    if "wrong" in case.marks:
        yield skipped("run", "what is wrong above comes first")
        return
    try:
        prepared = prepare(case.settings)
        start = opened(prepared)
    except UserError as error:
        yield Finding("run", "wrong", str(error))
        return
    for note in prepared.notes:
        # What is told above.
        if not note.startswith(("memory is tight", "in the verifier's own tokens")):
            yield Finding("run", "warning", note)
    folder = case.settings.folder
    yield Finding("run", "ok", f"{folder} goes on where it stopped" if start.begun else f"{folder} is begun")
