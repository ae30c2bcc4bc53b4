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

from actors.engines.folder_files import read_settings
from actors.engines.model_config import model_hash
from actors.engines.verifiers.value_head import HEAD_CONFIG
from actors.errors import UserError
from orchestration.problems.revising import RevisionFormat, trained_format
from orchestration.setup.model_folders import has_value_head, model_folder, read_model
from orchestration.setup.settings import PATH
from orchestration.training.chain_runs import chain_runs
from orchestration.training.naming import as_here
from orchestration.training.prm import PrmTraining, train_prm


@dataclass(frozen=True, slots=True)
class OrmJob:
    """From a `reviser` and `runs` of its chains on training problems to their verifier.

    It starts from the reviser, or from the verifier in `start`, which need not have read attempts. `format` is how a
    reviser was shown its attempts that was not trained to read any; another knows it by itself.
    """

    reviser: str
    runs: list[str] = field(default_factory=list, metadata=PATH)
    format: RevisionFormat = field(default_factory=RevisionFormat)
    training: PrmTraining = field(default_factory=PrmTraining)
    start: str | None = field(default=None, metadata=PATH)


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
    start = base if job.start is None else _verifier(job.start, job)
    format = trained_format(base, "reviser", job.reviser) or job.format
    mine = model_hash(base)

    def check(folder: str, drew: str | None) -> None:
        if drew != mine:
            who = "another reviser" if drew else "no reviser"
            mend = f"{who} drew its candidates, not {job.reviser}: name runs of this one"
            raise UserError.of("runs", folder, mend)

    chains = chain_runs("runs", job.runs, base, format, check)
    tables = [run.candidates() for run in chains.runs]
    measures = train_prm(job.training, start, tables, tables, chains.prompts, output, say, chains.shown)
    format.write(output)
    return measures


def _verifier(start: str, job: OrmJob) -> Path:
    """The folder of a verifier to go on from. Raises UserError where it is none, reads other tokens than the reviser, or has
    another head than the one that is to be trained."""
    try:
        found = read_model(start, "verifier")
    except UserError as error:
        raise as_here(error, {"verifier.path": "start"}) from None
    if not has_value_head(found.path):
        mend = (
            "it is no verifier of flopwise's own (there is no value_head.json): flopwise train prm makes one"
        )
        raise UserError.of("start", start, mend)
    if not found.reads_as(read_model(job.reviser, "reviser")):
        raise UserError.of("start", start, f"its tokenizer is another one than that of {job.reviser}")
    head = read_settings(found.path, HEAD_CONFIG, "start")
    for name in ("hidden", "likelihood", "width"):
        asked = getattr(job.training, name)
        if asked != head[name]:
            raise UserError.of(f"training.{name}", asked, f"the verifier in start has {head[name]}")
    return found.path
