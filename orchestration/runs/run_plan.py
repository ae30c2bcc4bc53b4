"""From prepared settings to what the runtime needs besides the tasks.

It makes plans of models and of the bench, and starts nothing. Invariant: a replica is told the files that it must find.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from actors.engines.base import EngineName
from actors.engines.identity import tokenizer_hash
from actors.engines.plan import ModelPlan
from actors.engines.verifiers.custom import Target
from orchestration.allocation.first_come import FirstCome
from orchestration.flops import generation_flops
from orchestration.runs.identity import Identity
from orchestration.runs.run import Run
from orchestration.setup.prepare import Prepared
from orchestration.setup.settings import ReplicaSettings

if TYPE_CHECKING:
    from actors.cluster.placement import RunPlan
    from actors.store.writer import Retention


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
