"""A whole beam search by real engines, of a model whose byte-level tokens hold the newlines of a delimiter in many ways."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from actors.engines.local.policy import LocalEngine
from actors.engines.local.verifier import ScoringEngine
from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from actors.ledger import Purse
from actors.replicas.bench import Bench, TaskBench
from actors.replicas.clients import TaskModels
from actors.replicas.meter import Meter
from actors.replicas.reader import ReaderPlan, TokenReader
from actors.strategy import Prompt
from orchestration.flops import ModelCost
from orchestration.problems.graders.number import NumberGrader
from orchestration.strategies.parse import parse
from tests.benchmarks.step_ends import count
from tests.support.step_texts import CUTS, DELIMITER, ROWS, save_writer, step_count, texts, tokenizer_of
from tests.support.table import Watched

MOST = 200


@pytest.mark.parametrize("cut", CUTS)
def test_every_boundary_between_steps_is_seen(cut: str) -> None:
    seen = count(cut)
    assert seen.in_text == seen.all > 900
    assert cut != "GPT-2" or seen.by_token < seen.all // 2


@pytest.mark.parametrize("cut", CUTS)
async def test_a_beam_grows_step_by_step_whatever_the_tokens(cut: str, tmp_path: Path) -> None:
    """Trap: where no token ends in the delimiter, beam search becomes sampling of whole solutions, without a word."""
    tokenizer = tokenizer_of(cut)
    folder = save_writer(tmp_path / "policy", tokenizer, texts())
    scoring = shutil.copytree(folder, tmp_path / "prm")
    torch.manual_seed(0)
    ValueHead(ValueHeadConfig(ROWS)).save(scoring)
    plan = ReaderPlan(folder, DELIMITER, NumberGrader())
    cost = ModelCost.from_folder(folder)
    run = Bench(plan, {"policy": cost, "verifier": cost}, "paper", MOST)
    purse = Purse(1 << 60)
    engine = Watched(LocalEngine.load(folder, max_sequences=8), purse)
    scorer = ScoringEngine.load(scoring)
    prompt = Prompt("p", tuple(tokenizer.encode("What is 12 + 30?\n")))
    bench = TaskBench(run, prompt, 0, engine, scorer, TokenReader(plan, engine.info.eos_ids, ROWS), purse)
    try:
        solution = await parse("beam(n=4,width=2)").solve(prompt, TaskModels.of(bench, Meter()))
    finally:
        await engine.close()
        await scorer.close()
    kept = [one for one in solution.candidates if one.kept]
    assert len(kept) > 1
    for one in solution.candidates:
        text = tokenizer.decode(one.token_ids)
        # A token such as "\n\nSo" ends a step and begins the next: as the first it is one, as the last none is begun.
        whole = step_count(text.replace(tokenizer.eos_token, ""))
        assert abs(len(one.step_ends) - whole) <= (cut == "none")
        pieces = [
            tokenizer.decode(one.token_ids[a:b])
            for a, b in zip((0, *one.step_ends), one.step_ends, strict=False)
        ]
        assert all(DELIMITER in piece for piece in pieces[:-1])
        assert len(one.scores) == len(one.step_ends)
    steps = [len(one.step_ends) for one in kept]
    assert min(steps) > 1
    assert sum(steps) > 2 * len(steps)
    # Each draw but the last of a solution ended with a step, and two went on from one place.
    ended = [result.finish for result in engine.results]
    assert ended.count("stop") > len(ended) // 2
    places = [request.token_ids for request in engine.requests]
    assert len(set(places)) < len(places)
    assert len({place for place in places if len(place) > len(prompt.token_ids)}) > 2
