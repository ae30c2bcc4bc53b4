"""The whole making of a reviser: sample the policy on training problems, pair right answers with wrong ones, train.

In place of samples it may learn from chains that a reviser drew. It knows nothing of how any of it is done. Invariant: only
training problems are used, and what an interrupted start finished is not done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from actors.errors import UserError, counted
from actors.work import Progress
from orchestration.problems.revising import Revising, RevisionFormat
from orchestration.runs.run import Run
from orchestration.setup.model_folders import read_model
from orchestration.setup.settings import PATH
from orchestration.training.chain_data import Chained, balanced, chains_of, drawing
from orchestration.training.chain_runs import chain_runs
from orchestration.training.naming import as_here
from orchestration.training.pair_store import counted_pairs, read_pairs, write_pairs
from orchestration.training.reviser import (
    Recipe,
    RevisionTraining,
    check_lora,
    check_rows,
    rows_of,
    train_reviser,
)
from orchestration.training.revision_data import Choice, pairs_of, pools
from orchestration.training.sampling import (
    Part,
    SampledJob,
    draw,
    prepared_sampling,
    prompts_of,
    tell_of_chat,
)
from orchestration.training.showing import bound_format, context_of, lack_of_room
from orchestration.training.step_data import Drawn

PARTS = (Part(2_000, 3, "majority(n=64)"),)
"""64 parallel samples of each problem (paper appendix H)."""

SAMPLES = Recipe(
    "parts",
    "no problem{side} has both right and wrong answers",
    "draw more problems, more samples of each, or problems of which the policy solves some",
)
CHAINS = Recipe(
    "chains",
    "no chain{side} goes from a wrong answer to a right one",
    "draw more chains, or chains on problems of which the reviser solves some",
)


@dataclass(frozen=True, slots=True)
class ReviserJob(SampledJob):
    """From a policy to its reviser.

    `parts` are sampled in turn, and a share `keep` of their right answers stands before itself as well. `chains` are runs in
    which a reviser drew chains on training problems: where some are named, the policy learns from them (ReST-EM, paper
    appendix P) and nothing is sampled; problems, prompts and limits are those of the runs. `format` is how earlier attempts
    are shown.
    """

    runs: str = field(default="runs/reviser", metadata=PATH)
    parts: tuple[Part, ...] = PARTS
    keep: float = 0.0
    nearest: bool = True
    times: int = 1
    chains: list[str] = field(default_factory=list, metadata=PATH)
    format: RevisionFormat = field(default_factory=RevisionFormat)
    training: RevisionTraining = field(default_factory=RevisionTraining)

    def __post_init__(self) -> None:
        if not self.parts:
            raise UserError.of("parts", self.parts, "name at least one part to draw samples of")
        if len({part.seed for part in self.parts}) < len(self.parts):
            raise UserError.of("parts", [p.seed for p in self.parts], "each part needs a seed of its own")
        if not 0 <= self.keep <= 1:
            raise UserError.of("keep", self.keep, "a share from 0 to 1")
        if self.times < 1:
            raise UserError.of("times", self.times, "each right answer needs at least one pair")
        if self.chains and self.reuse:
            raise UserError.of("reuse", self.reuse, "with chains nothing is drawn: leave out one of the two")


@dataclass(frozen=True, slots=True)
class _Paired:
    """Pairs that stand on disk: of which policy, with which prompts, shown how in front of answers of how many tokens, `of`
    what, by which recipe and, where they were chosen by any, by which `rules`."""

    policy: Path
    prompts: dict[str, tuple[int, ...]]
    revising: Revising
    max_tokens: int
    of: str
    recipe: Recipe
    rules: dict[str, Any] = field(default_factory=dict)


def make_reviser(
    job: ReviserJob,
    output: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Sample what is missing of every part, or read chains, pair the answers, train the reviser and write it to `output`;
    return its measures. `say` is told, in lines, what a user should know on the way. The pairs are in `output/pairs`. Raises
    UserError, before anything is trained, where there is nothing to learn."""
    check_lora(job.training)
    if job.chains:
        made = _from_chains(job, output / "pairs")
    else:
        tell_of_chat(job, say)
        made = _from_samples(job, output / "pairs", on_progress)
    told = counted_pairs(output / "pairs")
    say(f"reviser: {made.of}; {counted(told['pairs'], 'pair')}")
    rows = rows_of(
        read_pairs(output / "pairs"),
        made.prompts,
        made.revising,
        context_of(made.policy),
        made.max_tokens,
        job.training,
    )
    check_rows(rows, made.of, made.recipe)
    return train_reviser(
        job.training, made.policy, job.format, rows, output, say, {"from": made.of} | made.rules | told
    )


def _from_samples(job: ReviserJob, pairs: Path, on_progress: Callable[[Progress], None]) -> _Paired:
    """Right answers of the policy behind wrong ones of the same problem (paper section 6.1)."""
    prepared = [prepared_sampling(job, number, part) for number, part in enumerate(job.parts)]
    prompts: dict[str, tuple[int, ...]] = {}
    for one in prepared:
        prompts |= prompts_of(one)
    base, revising = prepared[0].policy.path, bound_format(job.format, prepared[0])
    lack = lack_of_room(revising, prompts.values(), job.max_tokens, context_of(base))
    if lack:
        mend = f"{lack}: lower it, or choose a policy with a longer context"
        raise UserError.of("max_tokens", job.max_tokens, mend)
    runs = [(draw(one, on_progress), one.strategies[0].text) for one in prepared]
    drawn = Drawn()
    choice = Choice(job.format.attempts, job.training.seed, job.keep, job.nearest, job.times)
    rules = {"choice": asdict(choice)}
    write_pairs(
        pairs,
        # A folder of samples may hold those of more problems than are asked for.
        (pool for run, strategy in runs for pool in pools(run, strategy, prompts, drawn)),
        partial(pairs_of, choice=choice),
        rules
        | {
            "problems": len(prompts),
            "samples": [_identity(run, [strategy]) for run, strategy in runs],
        },
    )
    return _Paired(base, prompts, revising, job.max_tokens, str(drawn), SAMPLES, rules)


def _from_chains(job: ReviserJob, pairs: Path) -> _Paired:
    """Right answers of a reviser behind its own wrong ones (paper appendix P)."""
    try:
        policy = read_model(job.policy, "policy")
    except UserError as error:
        raise as_here(error, {"policy.path": "policy"}) from None
    drew: dict[str, str] = {}

    def check(folder: str, reviser: str | None) -> None:
        if reviser is None:
            mend = "no reviser drew its candidates: name runs with chains of one (reviser=folder)"
            raise UserError.of("chains", folder, mend)
        drew.setdefault(reviser, folder)
        if len(drew) > 1:
            first = next(iter(drew.values()))
            mend = f"another reviser drew its chains than those of {first}: train on those of one"
            raise UserError.of("chains", folder, mend)

    found = chain_runs("chains", job.chains, policy.path, job.format, check)
    if not policy.reads_as(read_model(str(found.policy), "policy")):
        mend = f"they stand in the tokens of another policy than {job.policy}: set policy to the one of these runs"
        raise UserError.of("chains", job.chains, mend)
    lack = lack_of_room(
        found.shown.revising, found.prompts.values(), found.max_tokens, context_of(policy.path)
    )
    if lack:
        mend = f"{lack}: draw with a lower policy.max_tokens, or choose a policy with a longer context"
        raise UserError.of("chains", job.chains, mend)
    for run, folder in zip(found.runs, job.chains, strict=True):
        if not drawing(run):
            mend = "no strategy of it draws chains: name runs of revision(sequential=5,parallel=64)"
            raise UserError.of("chains", folder, mend)
    most, seed, told = job.format.attempts, job.training.seed, Chained()
    balance = balanced(chains_of(found.runs, found.prompts, most, seed, told))
    if max(told.lengths, default=1) == 1:
        raise CHAINS.nothing(str(told))
    write_pairs(
        pairs,
        chains_of(found.runs, found.prompts, most, seed, Chained()),
        balance.chosen,
        {
            "seed": seed,
            "attempts": most,
            "problems": len(found.prompts),
            "chains": [_identity(run, drawing(run)) for run in found.runs],
        },
    )
    of = f"{told}; {balance.each:,} of each length are used"
    return _Paired(policy.path, found.prompts, found.shown.revising, found.max_tokens, of, CHAINS)


def _identity(run: Run, strategies: list[str]) -> dict[str, Any]:
    """What tells these candidates from others, as JSON values."""
    return {
        "identity": run.info["identity"],
        "strategies": strategies,
        "outcomes": sum(run.states().values()),
    }
