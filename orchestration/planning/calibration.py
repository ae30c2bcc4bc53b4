"""From what a run has stored to a plan: the value table with its calibration, and the paper's table by difficulty.

It knows runs and the parts of a plan, nothing of commands. Invariants: no sample both tells a bin and judges a strategy, so
where samples tell bins it is those of the second half, and the first judges; the same run with the same settings gives the
same plan, but for its day.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from actors.errors import UserError, nearest
from actors.strategy import Role, asked_by
from orchestration.allocation.fitting import CELLS, calibrate, fit_table
from orchestration.allocation.plan import Difficulty, Made, Pick, Plan
from orchestration.planning.bench import MAJORITY
from orchestration.planning.bin_table import bin_table
from orchestration.planning.curves import curves_of
from orchestration.planning.difficulty import BINS, Bins, halves, predicted, quantile_bins
from orchestration.planning.pools import Pool
from orchestration.planning.prompt_values import NotJudged, prompt_values
from orchestration.planning.sources import LEAST, Source, choose, fingerprint, read_source
from orchestration.planning.tracing import traces_of
from orchestration.runs.folder import write_atomically
from orchestration.runs.identity import model_hashes, setup_hash
from orchestration.runs.run import Run
from orchestration.setup.prepare import Prepared
from orchestration.setup.settings import (
    PATH,
    ClusterSettings,
    DatasetSettings,
    EvaluateSettings,
    PolicySettings,
    ReviserSettings,
    VerifierSettings,
)
from orchestration.strategies.choice import Chooser
from orchestration.strategies.parse import parse, registered
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.tally import Counting

Array = NDArray[np.float64]

Tell = Callable[[str, int, int], None]
"""Hears what is under way, how much of it is done, and of how much."""

_CHUNK = 20
_CURVES = 4
"""Orders of the samples that an accuracy by difficulty is a mean over."""

_DIGITS = 10**6

SAMPLES, PROMPT = "samples", "prompt"
DIFFICULTIES = (SAMPLES, PROMPT)
"""What tells a prompt's bin: a few of its samples, or the verifier's value of it alone."""


@dataclass
class PlanSettings:
    """How a plan is fitted: to which `strategies` of the run ([]: all that it can use), with how many `cells` a stage, each
    problem in so many `orders` of its samples; whether it offers to have the prompt judged alone, where the verifier can
    (`prompt_value`); and `bins` of difficulty, told from so many `samples` or from the prompt alone (`difficulty`)."""

    strategies: list[str] = field(default_factory=list)
    cells: int = CELLS
    orders: int = 4
    prompt_value: bool = True
    bins: int = BINS
    difficulty: str = SAMPLES
    samples: int = 4
    seed: int = 0


@dataclass
class CalibrateSettings:
    """Everything that `flopwise calibrate` may be told: a run's settings, how a plan is fitted to it, and the plan's file
    (None: plan.yaml in the folder)."""

    folder: str = field(default="runs/calibrate", metadata=PATH)
    strategies: list[str | dict[str, Any]] = field(default_factory=list)
    retry: str = "nothing"
    reuse: list[str] = field(default_factory=list, metadata=PATH)
    out: str | None = field(default=None, metadata=PATH)
    plan: PlanSettings = field(default_factory=PlanSettings)
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    verifier: VerifierSettings = field(default_factory=VerifierSettings)
    reviser: ReviserSettings = field(default_factory=ReviserSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)

    @property
    def sweep(self) -> EvaluateSettings:
        """The evaluation that draws what a plan is fitted to."""
        ours = {one.name: getattr(self, one.name) for one in fields(self)}
        return EvaluateSettings(**{name: ours[name] for name in ours if name not in ("out", "plan")})

    def path(self, folder: Path) -> Path:
        """Where the plan of a run goes."""
        return folder / PLAN_FILE if self.out is None else Path(self.out)


PLAN_FILE = "plan.yaml"


def check_sweep(prepared: Prepared, difficulty: str = DIFFICULTIES[0]) -> None:
    """Raise UserError where what would be drawn is too little to learn from: too few problems, none with an answer, no whole
    samples, no value of a prompt alone that would tell its `difficulty`. Nothing has been spent by then."""
    if difficulty == PROMPT and prepared.measure is not None:
        mend = "the policy's own confidence has no value of a prompt alone: tell bins by samples, or take another verifier"
        raise UserError.of("plan.difficulty", difficulty, mend)
    check_drawn(choose("strategies", [one.text for one in prepared.strategies])[0])
    first = list(itertools.islice(prepared.dataset, LEAST))
    if len(first) < LEAST:
        given = prepared.settings.dataset
        named = "count" if given.path is None or given.count is not None else "path"
        there = "there is 1" if len(first) == 1 else f"there are {len(first)}"
        mend = f"a plan is fitted to {LEAST} problems at least, and {there}: give more"
        raise UserError.of(f"dataset.{named}", getattr(given, named), mend)
    if all(prepared.grader.reference_of(one) is None for one in first):
        mend = f"none of the first {LEAST} problems has an answer, and a plan is learnt from answers: name their column"
        if prepared.settings.dataset.path is not None:
            raise UserError.of("dataset.columns.answer", prepared.settings.dataset.columns.answer, mend)
        raise UserError.of("dataset", prepared.dataset.description, mend)


def check_drawn(samples: Chooser) -> None:
    """Raise UserError where samples are others, or vote otherwise, than those of a prompt that goes by a plan: its states
    would not be those of the plan."""
    if samples.choice != BestOfN(1).choice:
        mend = "a plan is for samples as best_of_n(n=32) draws and counts them: take that, with a verifier"
        raise UserError.of("strategies", samples.text, mend)


def check_plan(settings: PlanSettings) -> None:
    """Raise UserError for the first value that cannot be meant."""
    for name, least in (("cells", 2), ("orders", 1), ("bins", 2), ("samples", 1)):
        value = getattr(settings, name)
        if value < least:
            raise UserError.of(f"plan.{name}", value, f"it must be at least {least}")
    if settings.difficulty not in DIFFICULTIES:
        known = f"choose one of {', '.join(DIFFICULTIES)}{nearest(settings.difficulty, DIFFICULTIES)}"
        raise UserError.of("plan.difficulty", settings.difficulty, known)


def silent(what: str, done: int, of: int) -> None:
    """Tell nobody."""


def unsaid(line: str) -> None:
    """Tell nobody."""


def make_plan(
    run: Run, settings: PlanSettings, tell: Tell = silent, note: Callable[[str], None] = unsaid
) -> Plan:
    """Fit a plan to a run; `note` hears what a user should know of it. Raises UserError where the run has too little to learn
    from, and where what is asked of its verifier is not to be had."""
    check_plan(settings)
    tell("reading the run", 0, 1)
    source = read_source(run, settings.strategies, prompts=_values(run, settings, tell, note))
    check_drawn(source.samples)
    offer, pools, seed = source.offer, source.pools, settings.seed
    if not settings.prompt_value:
        offer = replace(offer, prompt=False)
    traces = []
    for at in range(0, len(pools), _CHUNK):
        tell("looking at problems", at, len(pools))
        part = pools[at : at + _CHUNK]
        traces += traces_of(part, offer, orders=settings.orders, seed=seed, counting=source.counting)
    tell("fitting the value table", 0, 2)
    table = fit_table(offer, traces, cells=settings.cells)
    tell("fitting the value table", 1, 2)
    curve = calibrate(offer, traces, seed=seed, cells=settings.cells)
    tell("choosing by difficulty", 0, 1)
    difficulty, picks = by_difficulty(source, settings)
    identity = run.info["identity"]
    options = (*offer.searches, *(pick.strategy for pick in picks))
    asked = frozenset[Role]({"policy", "verifier"}).union(*(asked_by(parse(text)) for text in options))
    models: dict[str, str] = {role: known for role, known in model_hashes(identity).items() if role in asked}
    made = Made(
        models=models,
        grader=identity["grader"],
        setup=setup_hash(identity),
        # Samples and searches are charged as the columns without `_exact` are.
        unit="paper",
        data=run.info["dataset"],
        data_hash=fingerprint(run, pools),
        problems=len(pools),
        orders=settings.orders,
        day=time.strftime("%Y-%m-%d"),
    )
    return Plan(made, offer, table, tuple(curve), picks, difficulty)


def _values(run: Run, settings: PlanSettings, tell: Tell, note: Callable[[str], None]) -> dict[str, float]:
    """The verifier's values of the prompts alone, as far as they are asked for, and can be told."""
    by_bin = settings.difficulty == PROMPT
    if not settings.prompt_value and not by_bin:
        return {}
    try:
        return prompt_values(run, tell)
    except NotJudged as why:
        if by_bin:
            raise UserError.of("plan.difficulty", settings.difficulty, str(why)) from None
        note(f"the plan goes without the verifier's values of prompts: {why}")
        return {}


def by_difficulty(source: Source, settings: PlanSettings) -> tuple[Difficulty | None, tuple[Pick, ...]]:
    """How a problem's bin is told, and the best strategy of each bin at each budget; nothing where there are too few samples
    to tell bins by some and judge strategies by others."""
    alone = settings.difficulty == PROMPT
    judged, telling = halves(source.size)
    if alone:
        # No sample tells a bin, so all of them judge.
        judged, telling = slice(0, source.size), slice(0, 0)
    if not judged.stop or len(source.pools) < settings.bins:
        return None, ()
    samples = 0 if alone else min(settings.samples, source.size - telling.start)
    values = np.array(
        [
            pool.prompt.value
            if alone and pool.prompt
            else value_of(pool, telling.start, samples, source.counting)
            for pool in source.pools
        ]
    )
    difficulty = Difficulty(samples, _thresholds(values, settings.bins))
    bins = Bins(difficulty.thresholds, (), 0).of(values)
    budgets = [n for n in source.offer.samples if n <= judged.stop]
    right = strategies_at(source, budgets, seed=settings.seed, half=None if alone else 0)
    names = [pool.problem for pool in source.pools]
    return difficulty, bin_table(names, bins, right, seed=settings.seed).picks


def _thresholds(values: Array, bins: int) -> tuple[float, ...]:
    """Thresholds of few digits with problems in every bin: where many values are equal, there are fewer bins."""
    found: list[float] = []
    for exact in quantile_bins(values, bins).thresholds:
        # Rounded down: who lies on it stays in the easier bin.
        one = math.floor(exact * _DIGITS) / _DIGITS
        if one > values.min() and (not found or one < found[-1]):
            found.append(one)
    return tuple(found)


def value_of(pool: Pool, start: int, samples: int, counting: Counting) -> float:
    """The mean value of some of a problem's samples."""
    some = pool.samples[start : start + samples]
    return predicted([counting.value(one.candidate) for one in some])


def strategies_at(
    source: Source, budgets: Sequence[int], *, seed: int, half: Literal[0, 1] | None = 0
) -> dict[int, dict[str, Array]]:
    """By budget in generations and strategy, how right each problem's answer is (P): whole samples by the run's own rule
    and by a plain vote, over one half of them or all, and searches of that budget."""
    scored, plain = (
        curves_of(source.pools, budgets, orders=_CURVES, seed=seed, counting=counting, half=half).right
        for counting in (source.counting, MAJORITY)
    )
    sampling = source.samples.choice.sampling
    found: dict[int, dict[str, Array]] = {}
    for column, n in enumerate(budgets):
        vote = Majority(n, sampling.temperature, sampling.top_p)
        found[n] = {source.samples.at(n).text: scored[:, column], vote.text: plain[:, column]}
        for text in source.searches:
            if _budget(text) == n:
                found[n][text] = np.array([float(pool.searches[text].correct) for pool in source.pools])
    return found


def _budget(text: str) -> int | None:
    strategy = registered(text)
    return None if strategy is None else strategy.grouping.n


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan to its file, whole or not at all. Raises UserError where it may not be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, plan.text)
    except OSError as error:
        mend = f"{error.strerror or error}: choose a file that you may write, out=..."
        raise UserError.of("out", str(path), mend) from None
