"""From prepared settings to what the runtime needs besides the tasks.

It makes plans of models and of the bench, and starts nothing. Invariant: a replica is told the files that it must find.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from actors.engines.plan import ModelPlan
from actors.work import Allocator
from orchestration.problems import judge_of
from orchestration.runs.identity import Identity
from orchestration.runs.run import Run
from orchestration.setup.prepare import Prepared

if TYPE_CHECKING:
    from actors.cluster.placement import RunPlan
    from actors.store.writer import Retention


def run_plan(
    prepared: Prepared, identity: Identity, allocator: Allocator, longest: int | None = None
) -> RunPlan:
    """What the runtime needs besides the tasks, whose longest prompt has so many tokens (None: not known)."""
    from ray import cloudpickle

    from actors.cluster.placement import RunPlan
    from actors.replicas.bench import Bench
    from actors.replicas.reader import ReaderPlan

    settings, verifier = prepared.settings, prepared.models.get("verifier")
    return RunPlan(
        folder=Path(settings.folder),
        models={
            role: ModelPlan(
                path=model.path,
                share=model.share,
                dtype=model.dtype,
                files=(identity.models[role].files, identity.models[role].tokenizer),
                engine=model.engine,
                seeded=role == "verifier" or settings.policy.reproducible,
                target=model.target,
                context=None
                if longest is None
                else prepared.contexts.needed(role, longest, other_tokens=model.family is not None),
                family=model.family,
                server=model.server,
            )
            for role, model in prepared.models.items()
            if role in prepared.asked
        },
        bench=Bench(
            reader=ReaderPlan(
                prepared.policy.path,
                settings.policy.delimiter,
                prepared.grader,
                tuple(settings.policy.stop),
                settings.policy.ends_after_answer,
            ),
            costs=prepared.costs,
            unit=prepared.unit,
            max_tokens=settings.policy.max_tokens,
            likelihoods=settings.policy.likelihoods,
            salts={role: identity.salt(role) for role in identity.models},
            framing=prepared.framing.revising if prepared.framing else None,
            judging=prepared.judging.revising if prepared.judging else None,
            judged=prepared.contexts.tokens.get("verifier"),
            texts=verifier is not None and verifier.target is not None,
            family=verifier.family if verifier is not None else None,
            measure=prepared.measure,
            strategies=tuple((one.text, cloudpickle.dumps(one)) for one in prepared.strategies),
        ),
        allocator=allocator,
        judge=judge_of(prepared.grader),
        budget=prepared.budget,
        retention=cast("Retention", settings.keep),
        address=settings.cluster.address,
        packages=prepared.packages,
        reuse=tuple(Run(folder).folder for folder in settings.reuse),
        grace=settings.cluster.grace,
        startup=settings.cluster.startup,
    )
