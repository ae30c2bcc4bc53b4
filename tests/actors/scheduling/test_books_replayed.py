"""The books, replayed from the folder, against what torch counts that the engines really computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from actors.replicas.solver import SolverReplica
from actors.replicas.verifier import VerifierReplica
from actors.store.log import parts, read_ledger
from actors.strategy import Strategy
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from tests.support.inprocess import Cell
from tests.support.tiny import make_plan, make_task

STRATEGIES: tuple[Strategy, ...] = (Majority(3), BestOfN(3), Beam(4, 2))


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ds.dataset(parts(folder, table)).to_table().to_pylist()
    return found


async def test_the_ledger_says_what_torch_counts(tmp_path: Path, policy: Path, verifier: Path) -> None:
    async with Cell(tmp_path / "run", policy, verifier, replicas=1, max_sequences=1) as cell:
        exact = replace(cell.bench, unit="exact")
        cell.verifier.replica = VerifierReplica(make_plan(verifier, max_sequences=1))
        made = SolverReplica(
            "policy-0", make_plan(policy, max_sequences=1), exact, (cell.verifier,), cell.writer
        )
        [replica] = cell.replicas.values()
        replica.make = lambda: made
        counters = [FlopCounterMode(display=False), FlopCounterMode(display=False)]
        engines = (made._engine, cell.verifier.replica._engine)
        for counter, engine in zip(counters, engines, strict=True):
            engine._thread.submit(counter.__enter__).result()
        with sdpa_kernel(SDPBackend.MATH):
            await cell.run([make_task(number, STRATEGIES) for number in range(3)])
        counted = [counter.get_total_flops() for counter in counters]
    ledger = read_ledger(tmp_path / "run")
    assert not any(entry.wasted for entry in ledger)
    booked = [sum(e.flops for e in ledger if e.purpose == purpose) for purpose in ("policy", "verifier")]
    outcomes = rows(tmp_path / "run", "outcomes")
    assert sum(booked) == sum(row["spent_flops_exact"] for row in outcomes)
    # A dense kernel multiplies the keys too that the causal mask hides: few where tokens come one by one, more where a
    # whole solution is scored at once.
    for counts, books, masked in zip(counted, booked, (0.001, 0.05), strict=True):
        assert books <= counts <= (1 + masked) * books


async def test_the_ledger_splits_the_tokens_drawn_into_kept_and_pruned(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        await cell.run([make_task(number, (Beam(8, 4),)) for number in range(4)])
        price = cell.bench.costs["policy"].paper(1)
    entries = {(entry.purpose, entry.kind): entry.flops for entry in read_ledger(tmp_path / "run")}
    [kept] = {sum(row["kept_tokens"] for row in rows(tmp_path / "run", "outcomes"))}
    drawn = sum(row["policy_tokens"] for row in rows(tmp_path / "run", "outcomes"))
    assert entries["policy", "kept"] == kept * price
    assert entries["policy", "pruned"] == (drawn - kept) * price
    assert kept < drawn
