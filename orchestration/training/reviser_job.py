"""The whole making of a reviser: sample the policy on training problems, pair right answers with wrong ones, train.

It knows nothing of how any of it is done. Invariant: only training problems are used, and what an interrupted start finished
is not done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from actors.engines.end_tokens import end_ids
from actors.engines.model_config import read_config
from actors.engines.positions import steady_context
from actors.errors import UserError, counted
from actors.work import Progress
from orchestration.problems.revising import Revising, RevisionFormat
from orchestration.runs.run import Run
from orchestration.setup.prepare import Prepared
from orchestration.setup.settings import PATH
from orchestration.training.pair_store import counted_pairs, read_pairs, write_pairs
from orchestration.training.reviser import (
    RevisionTraining,
    check_lora,
    check_rows,
    rows_of,
    train_reviser,
)
from orchestration.training.revision_data import pairs_of, pools
from orchestration.training.sampling import (
    Part,
    SampledJob,
    draw,
    prepared_sampling,
    prompts_of,
    tell_of_chat,
)
from orchestration.training.step_data import Drawn


@dataclass(frozen=True, slots=True)
class ReviserJob(SampledJob):
    """From a policy to its reviser.

    `parts` are sampled in turn: `majority(n=64)` draws the 64 parallel samples a problem of the paper. `format` is how
    earlier attempts are shown.
    """

    runs: str = field(default="runs/reviser", metadata=PATH)
    parts: tuple[Part, ...] = (Part(2_000, 3, "majority(n=64)"),)
    format: RevisionFormat = field(default_factory=RevisionFormat)
    training: RevisionTraining = field(default_factory=RevisionTraining)

    def __post_init__(self) -> None:
        if not self.parts:
            raise UserError.of("parts", self.parts, "name at least one part to draw samples of")
        if len({part.seed for part in self.parts}) < len(self.parts):
            raise UserError.of("parts", [p.seed for p in self.parts], "each part needs a seed of its own")


def make_reviser(
    job: ReviserJob,
    output: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Sample what is missing of every part, pair the answers, train the reviser and write it to `output`; return its
    measures. `say` is told, in lines, what a user should know on the way. The pairs are in `output/pairs`."""
    tell_of_chat(job, say)
    check_lora(job.training)
    prepared = [prepared_sampling(job, number, part) for number, part in enumerate(job.parts)]
    prompts: dict[str, tuple[int, ...]] = {}
    for one in prepared:
        prompts |= prompts_of(one)
    base = prepared[0].policy.path
    revising, context = bound_format(job.format, prepared[0]), context_of(base)
    check_room(job, revising, prompts, context)
    runs = [(draw(one, on_progress), one.strategies[0].text) for one in prepared]
    drawn = Drawn()
    seed = job.training.seed
    write_pairs(
        output / "pairs",
        # A folder of samples may hold those of more problems than are asked for.
        (pool for run, strategy in runs for pool in pools(run, strategy, prompts, drawn)),
        partial(pairs_of, most=job.format.attempts, seed=seed),
        {
            "seed": seed,
            "attempts": job.format.attempts,
            "problems": len(prompts),
            "samples": [_identity(run, strategy) for run, strategy in runs],
        },
    )
    told = counted_pairs(output / "pairs")
    say(f"reviser: {drawn}; {counted(told['pairs'], 'pair')}")
    rows = rows_of(read_pairs(output / "pairs"), prompts, revising, context, job.max_tokens, job.training)
    check_rows(rows, str(drawn))
    return train_reviser(job.training, base, job.format, rows, output, say) | {"data": told}


def bound_format(format: RevisionFormat, prepared: Prepared) -> Revising:
    """The format in the ids of the policy that is sampled. Raises UserError where its tokenizer cannot have it."""
    from transformers import AutoTokenizer

    policy = prepared.policy
    tokenizer = AutoTokenizer.from_pretrained(
        policy.tokenizer, local_files_only=True, trust_remote_code=False
    )
    ends = end_ids(policy.path, read_config(policy.path))
    return format.bind(tokenizer, ends, chat=prepared.prompt.chat)


def context_of(folder: Path) -> int:
    """Tokens that a model reads at most."""
    config = read_config(folder)
    return steady_context(config) or int(config.max_position_embeddings)


def check_room(
    job: ReviserJob, revising: Revising, prompts: dict[str, tuple[int, ...]], context: int
) -> None:
    """Raise UserError where the model's context cannot hold the shortest prompt, one attempt and an answer of max_tokens
    each: no attempt could ever be revised."""
    shortest = min(map(len, prompts.values()))
    needed = revising.length(shortest, job.max_tokens, 1) + job.max_tokens
    if needed > context:
        mend = (
            f"the shortest prompt ({counted(shortest, 'token')}), one attempt and an answer of so many tokens each need "
            f"{needed:,}, and the policy's context is {context:,}: lower it, or choose a policy with a longer context"
        )
        raise UserError.of("max_tokens", job.max_tokens, mend)


def _identity(run: Run, strategy: str) -> dict[str, Any]:
    """What tells these samples from others, as JSON values."""
    return {"identity": run.info["identity"], "strategy": strategy, "outcomes": sum(run.states().values())}
