"""The making of a verifier for revisions: an outcome reward model that reads the attempts before an answer (paper
appendix K).

It is trained as a process reward model is, on chains that a reviser drew in finished runs, each answer behind the
attempts that the reviser had read. It knows nothing of how chains are drawn or models are trained. Invariant: what stands
before an answer in training stands before it when the verifier serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.engines.model_config import model_hash
from actors.errors import UserError
from orchestration.problems.revising import RevisionFormat, trained_format
from orchestration.runs.run import Run
from orchestration.setup.compose import settings_from
from orchestration.setup.model_folders import model_folder
from orchestration.setup.prepare import Prepared, prepare
from orchestration.setup.settings import PATH
from orchestration.training.batches import Shown
from orchestration.training.naming import as_here
from orchestration.training.prm import PrmTraining, train_prm
from orchestration.training.reviser_job import bound_format, context_of
from orchestration.training.sampling import prompts_of


@dataclass(frozen=True, slots=True)
class OrmJob:
    """From a `reviser` and `runs` of its chains on training problems to their verifier, which starts from the reviser.

    `format` is how a reviser was shown its attempts that was not trained to read any; another knows it by itself.
    """

    reviser: str
    runs: list[str] = field(default_factory=list, metadata=PATH)
    format: RevisionFormat = field(default_factory=RevisionFormat)
    training: PrmTraining = field(default_factory=PrmTraining)


def make_orm(job: OrmJob, output: Path, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Train the verifier and write it to `output`, with the format that it reads; return its measures. Raises UserError,
    before anything is trained, where a run is of another reviser, or of problems that are not for training."""
    if not job.runs:
        mend = "name the runs in which the reviser drew chains on training problems, as in runs=[runs/chains]"
        raise UserError.of("runs", job.runs, mend)
    try:
        base = model_folder(job.reviser, "reviser")
    except UserError as error:
        raise as_here(error, {"reviser.path": "reviser"}) from None
    format = trained_format(base, "reviser", job.reviser) or job.format
    tables: list[pa.Table] = []
    prompts: dict[str, tuple[int, ...]] = {}
    shown: Shown | None = None
    for folder in job.runs:
        run = Run(folder)
        _check_drawn(run, folder, base, job.reviser)
        prepared = prepare(settings_from(run.config))
        _check_split(prepared, folder)
        mine = Shown(bound_format(format, prepared), context_of(base) - prepared.settings.policy.max_tokens)
        if shown is not None and mine != shown:
            mend = "its attempts stand otherwise before an answer, or have other limits: train on runs of one kind"
            raise UserError.of("runs", folder, mend)
        shown = mine
        prompts |= prompts_of(prepared)
        tables.append(run.candidates())
    measures = train_prm(job.training, base, tables, tables, prompts, output, say, shown)
    format.write(output)
    return measures


def _check_drawn(run: Run, folder: str, base: Path, reviser: str) -> None:
    """Raise UserError unless this reviser drew a run's candidates."""
    drew = run.info.get("identity", {}).get("reviser")
    if drew == model_hash(base):
        return
    who = "no reviser" if not drew else "another reviser"
    mend = f"{who} drew its candidates, not {reviser}: name runs of this one"
    raise UserError.of("runs", folder, mend)


def _check_split(prepared: Prepared, folder: str) -> None:
    """Raise UserError where problems are generated, and not those to train on."""
    given = prepared.settings.dataset
    if given.path is None and given.split != "train":
        mend = f"it solves problems of the split {given.split}, which are to judge by: draw with dataset.split=train"
        raise UserError.of("runs", folder, mend)
