"""Value tables made of seeds, and worlds in which they are the whole truth."""

from __future__ import annotations

import numpy as np

from orchestration.allocation.logistic import Logistic
from orchestration.allocation.value_table import START, UNDRAWN, Move, Offer, Stage, ValueTable


def made_table(seed: int, offer: Offer, cells: int = 3, *, first_cells: int = 1) -> ValueTable:
    """Chances, costs and ways by chance, but consistent: what a stage promises is the mean of where it leads."""
    rng = np.random.default_rng(seed)
    sizes = {name: first_cells if name == START else cells for name in offer.stages}
    leads = {move: rng.dirichlet(np.ones(sizes[move[1]]), size=sizes[move[0]]) for move in offer.moves}
    stages = []
    for name in offer.stages:
        size = sizes[name]
        right = np.zeros(size) if name in UNDRAWN else np.sort(rng.random(size))
        score = Logistic(() if size == 1 else ("mass",), () if size == 1 else (1.0,), 0.0)
        cuts = tuple((np.arange(1, size) / size).tolist())
        stages.append(Stage(name, score, (cuts,), tuple(right.tolist()), (50.0,) * size))
    costs = {name: rng.uniform(1, 10) for name in offer.stages}
    moves = [
        Move(
            source,
            target,
            tuple((costs[target] * rng.uniform(0.5, 1.5, sizes[source])).tolist()),
            tuple(tuple(row.tolist()) for row in leads[source, target]),
        )
        for source, target in offer.moves
    ]
    return ValueTable(tuple(stages), tuple(moves))


def halving_table() -> ValueTable:
    """Three kinds of prompts that no single sample tells apart for sure: easy, middling and hopeless ones; a thousand
    FLOPs a sample. Most of a hard prompt's samples are wrong however many are drawn, an easy one's are right at
    once."""
    kinds = np.array([0.35, 0.35, 0.3])
    rates = np.array([0.93, 0.45, 0.02])
    counts = (1, 2, 4, 8, 16, 32)
    edges = np.array([0.2, 0.5, 0.8])
    rng = np.random.default_rng(7)
    size = 40_000
    kind = rng.choice(3, size=size, p=kinds)
    signal = np.zeros((size, len(counts)))
    right = np.zeros((size, len(counts)), bool)
    for at, count in enumerate(counts):
        noise = rng.normal(0, 0.35 / np.sqrt(count), size)
        signal[:, at] = np.clip(rates[kind] + noise, 0, 1)
        limit = np.array([0.99, 0.9, 0.06])[kind]
        right[:, at] = rng.random(size) < limit - (limit - rates[kind]) / count**0.7
    cell = np.stack([np.searchsorted(edges, signal[:, at]) for at in range(len(counts))], axis=1)
    stages = [Stage(START, Logistic((), (), 0.0), ((),), (0.0,), (400.0,))]
    moves = []
    before = np.zeros(size, dtype=int)
    drawn = 0
    for at, count in enumerate(counts):
        share = [float(right[cell[:, at] == c, at].mean()) for c in range(4)]
        held = tuple((np.bincount(cell[:, at], minlength=4) / size * 400).tolist())
        stages.append(
            Stage(str(count), Logistic(("mass",), (1.0,), 0.0), (tuple(edges),), tuple(share), held)
        )
        sources = 1 if at == 0 else 4
        leads = np.zeros((sources, 4))
        np.add.at(leads, (before, cell[:, at]), 1.0)
        leads = (leads + 1e-6) / (leads + 1e-6).sum(axis=1, keepdims=True)
        name = START if at == 0 else str(counts[at - 1])
        cost = (1000.0 * (count - drawn),) * sources
        moves.append(Move(name, str(count), cost, tuple(tuple(row) for row in leads.tolist())))
        before, drawn = cell[:, at], count
    return ValueTable(tuple(stages), tuple(moves))
