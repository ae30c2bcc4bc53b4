"""Chains on a reviser replica that runs on vLLM: what they read, what they are charged, what is drawn once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from orchestration.strategies.revision.revision import Revision
from tests.actors.scheduling.test_revisions import revised
from tests.support.cells import books, rows_of
from tests.support.inprocess import Cell
from tests.support.tiny import FRAMING, make_task, save_policy

pytestmark = pytest.mark.vllm

PROBLEMS = 8
SHORT, LONG = Revision(3, 2), Revision(4, 3, select="majority")
Attempts = dict[tuple[str, int, int], dict[str, Any]]


def attempts(folder: Path, strategy: Revision) -> Attempts:
    """Rows of candidates by problem, chain and step."""
    mine = [row for row in rows_of(folder, "candidates") if row["strategy"] == strategy.text]
    return {(row["problem_id"], *divmod(row["index"], strategy.sequential)): row for row in mine}


def paid(folder: Path, strategy: Revision) -> int:
    """Tokens that were drawn for a strategy's outcomes."""
    rows = rows_of(folder, "outcomes")
    return sum(row["reviser_tokens"] for row in rows if row["strategy"] == strategy.text)


def tokens(rows: Attempts) -> int:
    return sum(len(row["token_ids"]) for row in rows.values())


@torch.inference_mode()
def likelihood(model: Any, context: tuple[int, ...], ids: list[int]) -> torch.Tensor:
    """The log-probability of each token after a context, by transformers."""
    logits = model(torch.tensor([[*context, *ids]])).logits[0, len(context) - 1 : -1].float()
    return logits.log_softmax(-1)[range(len(ids)), ids]


async def test_chains_read_their_attempts_and_are_charged_and_kept_as_on_the_local_engine(
    tmp_path: Path, verifier: Path
) -> None:
    wide, folder = save_policy(tmp_path / "wide", seed=9, heads=1), tmp_path / "run"

    async def run(strategy: Revision) -> None:
        async with Cell(folder, wide, verifier, replicas=0, revisers=1, reuse=True, engine="vllm") as one:
            progress = await one.run(revised(PROBLEMS, strategy), 300)
        assert (progress.quarantined, progress.wasted) == (0, 0)

    await run(SHORT)
    drawn = attempts(folder, SHORT)
    assert paid(folder, SHORT) == tokens(drawn)
    assert {(row["purpose"], row["kind"]) for row in rows_of(folder, "ledger")} == {
        ("reviser", "kept"),
        ("verifier", "kept"),
    }
    spent = sum(row["spent_flops"] for row in rows_of(folder, "outcomes"))
    assert spent == books(folder)["spent"]

    # What vLLM says of each token is what transformers says of it after the attempts that it is to be shown.
    model = AutoModelForCausalLM.from_pretrained(wide, dtype=torch.float32).eval()
    prompts = {task.prompt.id: task.prompt.token_ids for task in (make_task(n, ()) for n in range(PROBLEMS))}
    told = {(row["problem_id"], *row["place"]): row["logprobs"] for row in rows_of(folder, "samples")}
    assert told.keys() == drawn.keys()
    readers = 0
    for (problem, chain, step), row in drawn.items():
        before = [drawn[problem, chain, at] for at in range(step)]
        shown = [one["token_ids"] for one in before if one["finish_reason"] == "eos" and one["answer"]]
        context = FRAMING.context(prompts[problem], [tuple(ids) for ids in shown])
        expected = likelihood(model, context, row["token_ids"])
        assert torch.allclose(torch.tensor(told[problem, chain, step]), expected, atol=1e-3)
        alone = likelihood(model, prompts[problem], row["token_ids"])
        readers += bool(shown) and not torch.allclose(alone, expected, atol=0.1)
    assert readers > PROBLEMS / 2, "attempts tell"

    # Longer chains, and one more of them, go on from what is stored.
    await run(LONG)
    longer = attempts(folder, LONG)
    assert {place: longer[place]["token_ids"] for place in drawn} == {
        place: row["token_ids"] for place, row in drawn.items()
    }
    assert paid(folder, LONG) == tokens(longer) - tokens(drawn) > 0
