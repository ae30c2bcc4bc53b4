"""Runs in which a reviser drew chains of attempts on training problems, as every training from chains reads them.

It knows nothing of what is learnt of them. Invariant: the chains of one training were drawn on training problems, are read
after prompts of one kind, and stand before an answer in one way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.errors import UserError
from orchestration.problems.revising import RevisionFormat
from orchestration.runs.run import Run
from orchestration.setup.compose import settings_from
from orchestration.setup.prepare import Prepared, prepare
from orchestration.training.batches import Shown
from orchestration.training.sampling import prompts_of
from orchestration.training.showing import bound_format, context_of


@dataclass(frozen=True, slots=True)
class ChainRuns:
    """Some `runs`, the prompts of their problems by id, how attempts are `shown` in front of an answer of at most
    `max_tokens` tokens, and the folder of the policy, in whose tokens all of it is."""

    runs: tuple[Run, ...]
    prompts: dict[str, tuple[int, ...]]
    shown: Shown
    max_tokens: int
    policy: Path


def chain_runs(
    field: str,
    folders: Sequence[str],
    base: Path,
    format: RevisionFormat,
    check: Callable[[str, str | None], None],
) -> ChainRuns:
    """Read what a training of the model in `base` needs of runs (at least one) that the setting `field` names; attempts stand
    in `format`. `check` is told each folder, and the hash of the reviser that drew there, None for none. Raises UserError
    where runs are not on training problems, or not of one kind."""
    runs: list[Run] = []
    prompts: dict[str, tuple[int, ...]] = {}
    first: Prepared | None = None
    shown: Shown | None = None
    for folder in folders:
        run = _opened(field, folder)
        check(folder, run.info.get("identity", {}).get("reviser") or None)
        prepared = _prepared(field, folder, run)
        mine = Shown(bound_format(format, prepared), context_of(base) - prepared.settings.policy.max_tokens)
        if first is not None and (mine, prepared.prompt) != (shown, first.prompt):
            mend = "its attempts stand otherwise before an answer, or have other limits: train on runs of one kind"
            raise UserError.of(field, folder, mend)
        first, shown = first or prepared, mine
        prompts |= prompts_of(prepared)
        runs.append(run)
    assert first is not None
    assert shown is not None
    return ChainRuns(tuple(runs), prompts, shown, first.settings.policy.max_tokens, first.policy.path)


def _opened(field: str, folder: str) -> Run:
    """The run of a folder. Raises UserError, by the setting that named it, where there is none that can be read."""
    try:
        return Run(folder)
    except UserError as error:
        raise UserError(str(error).replace("run = ", f"{field} = ", 1)) from None


def _prepared(field: str, folder: str, run: Run) -> Prepared:
    """A run's set-up, as it stands now. Raises UserError where what it was made of is not there any more, and where its
    problems are generated and are not those to train on."""
    try:
        prepared = prepare(settings_from(run.config))
    except UserError as error:
        raise UserError.of(field, folder, f"its set-up cannot be read again ({error})") from None
    given = prepared.settings.dataset
    if given.path is None and given.split != "train":
        mend = f"it solves problems of the split {given.split}, which are to judge by: draw with dataset.split=train"
        raise UserError.of(field, folder, mend)
    return prepared
