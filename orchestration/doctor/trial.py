"""The models tried: a right and a wrong solution scored by the verifier, and a few tokens drawn by the policy.

It loads one model at a time, in this process: on the engine and device of the run where this machine has them, else on the
local engine and the processors. Invariant: what would not fit into the memory that is free is not loaded.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from actors.engines.base import GenerateRequest, ScoreRequest, VerifierEngine
from actors.engines.plan import ModelPlan
from actors.engines.verifiers.families.known import family_of
from actors.engines.weights import check_unquantised, weight_bytes
from actors.errors import UserError
from actors.memory import free_memory
from actors.strategy import Role
from orchestration.doctor.case import Case
from orchestration.doctor.findings import Finding, skipped
from orchestration.doctor.pairs import WRITTEN, Pair, by_chance, pairs_of
from orchestration.setup.footprint import NUMBER
from orchestration.setup.memory import size_of
from orchestration.setup.models import ModelSetup

TOKENS = 16
"""Tokens that the policy draws."""

BESIDE = 1.1
"""What a model takes while it is loaded, in its weights."""


@dataclass(frozen=True, slots=True)
class _Place:
    """How a model is loaded here, and what is to say where that is not as in the run."""

    plan: ModelPlan
    said: str


def pair_found(case: Case) -> Iterator[Finding]:
    """Whether the verifier tells right solutions from wrong ones."""
    verifier = case.models.get("verifier") or case.alone.get("verifier")
    if "verifier" not in case.asked:
        measure = case.settings.verifier.measure
        own = (
            f"the verifier is the policy's own confidence ({measure}), which scores only what the policy drew"
        )
        yield skipped("pair", own if measure is not None else "no strategy asks a verifier")
        return
    if verifier is None:
        yield skipped("pair", "the verifier's files are wrong")
        return
    if verifier.family is None and ("verifier" not in case.models or case.prompts is None):
        yield skipped("pair", "it takes the policy's prompts and tokens, and those are not known")
        return
    if verifier.family is not None and verifier.family.thinking is not None:
        yield skipped("pair", "the verifier writes before it scores, which takes too long for a look")
        return
    place = _place(case, "verifier", verifier)
    if isinstance(place, str):
        yield skipped("pair", place)
        return
    pairs: tuple[Pair, ...] = ()
    if verifier.family is None and case.grader is not None:
        pairs = pairs_of(case.problems, case.grader)
    try:
        told = asyncio.run(_scored(case, place.plan, pairs or WRITTEN))
    except Exception as error:  # whatever a model fails of is what is to be found
        yield Finding("pair", "wrong", f"the verifier scores nothing: {_line(error)}")
        return
    yield _judged(
        told, pairs or WRITTEN, written=not pairs, family=verifier.family is not None, said=place.said
    )


def generation_found(case: Case) -> Iterator[Finding]:
    """What the policy draws after the first prompt, the likeliest token each time."""
    policy, prompts = case.models.get("policy"), case.prompts
    if policy is None or prompts is None or not case.ids:
        yield skipped("generation", "policy, data or prompts are wrong")
        return
    ids = min(case.ids, key=len)
    if policy.context is not None and len(ids) + TOKENS > policy.context:
        yield skipped("generation", "no prompt leaves room for it")
        return
    place = _place(case, "policy", policy)
    if isinstance(place, str):
        yield skipped("generation", place)
        return
    try:
        drawn, seconds = asyncio.run(_drawn(place.plan, ids))
    except Exception as error:
        yield Finding("generation", "wrong", f"the policy draws nothing: {_line(error)}")
        return
    text = json.dumps(prompts.text(drawn), ensure_ascii=False)
    if len(drawn) < 2:
        mend = "its first token ends the solution: look at the prompts above, and whether policy=chat or policy=base is meant"
        yield Finding("generation", "warning", f"{text}: {mend}")
    elif len(drawn) == TOKENS and len(set(drawn)) == 1:
        mend = "one token again and again: look at the prompts above, and whether the weights are whole"
        yield Finding("generation", "warning", f"{text}: {mend}")
    else:
        yield Finding("generation", "ok", f"{text} ({len(drawn)} tokens in {seconds:.2g} s{place.said})")


def _place(case: Case, role: Role, model: ModelSetup) -> _Place | str:
    """How a model is loaded here, or why it is not."""
    import torch

    share = replace(model.share, replicas=1, max_sequences=8)
    if model.server is not None:
        seeded = case.settings.policy.reproducible
        plan = ModelPlan(
            model.path, share, model.dtype, engine=model.engine, server=model.server, seeded=seeded
        )
        return _Place(plan, f", by {model.server.url}")
    engine, said = model.engine, ""
    need = 0 if model.target is not None else int(BESIDE * weight_bytes(model.path, NUMBER[model.dtype]))
    if model.share.device_kind == "cuda" and torch.cuda.is_available():
        free, what = torch.cuda.mem_get_info()[0], "of the GPU's memory"
    else:
        free, what = free_memory(), "of this machine's memory"
        if model.share.device_kind == "cuda":
            share = replace(share, device="cpu", gpus=0.0, tensor_parallel=1, memory=None)
            engine, said = "local", ", here on processors and the local engine"
            try:
                check_unquantised(model.path, f"{role}.path", "try it where there is a GPU")
            except UserError as error:
                return str(error)
    if need > free:
        return f"{role}: it is not loaded here, for it takes {size_of(need)}, and {size_of(free)} {what} are free"
    context = None
    if engine == "vllm" and case.contexts is not None:
        context = case.contexts.needed(role, max(map(len, case.ids)))
    plan = ModelPlan(
        model.path,
        share,
        model.dtype,
        engine=engine,
        target=model.target,
        context=context,
        family=model.family,
    )
    return _Place(plan, said)


async def _drawn(plan: ModelPlan, ids: tuple[int, ...]) -> tuple[tuple[int, ...], float]:
    """The tokens that a policy draws, and in how many seconds."""
    from actors.engines.loading import load_policy
    from actors.engines.whole import quiet

    with quiet():
        engine = load_policy(plan)
    try:
        started = time.perf_counter()
        found = await engine.generate(GenerateRequest(ids, TOKENS, seed=0, temperature=0.0))
        if not all(math.isfinite(one) for one in found.logprobs):
            raise ValueError(
                "its likelihoods are no numbers: take another dtype (policy.dtype), or copy the weights again"
            )
        return found.token_ids, time.perf_counter() - started
    finally:
        await engine.close()


SELDOM = 1 / 8
"""How often a coin may do as well as a verifier that is taken to tell right from wrong: 3 of 3, 6 of 7."""

_Told = tuple[tuple[float, ...], tuple[float, ...]]
"""The scores of the steps of a pair's right solution, and of its wrong one."""


async def _scored(case: Case, plan: ModelPlan, pairs: Sequence[Pair]) -> list[_Told]:
    from actors.engines.loading import load_verifier
    from actors.engines.whole import quiet

    with quiet():
        engine = load_verifier(plan)
    try:
        return [
            (await _values(case, plan, engine, pair.question, pair.right),
             await _values(case, plan, engine, pair.question, pair.wrong))
            for pair in pairs
        ]  # fmt: skip
    finally:
        await engine.close()


async def _values(
    case: Case, plan: ModelPlan, engine: VerifierEngine, question: str, steps: tuple[str, ...]
) -> tuple[float, ...]:
    """The scores of a solution's steps; of one that is judged as a whole, its only one."""
    if plan.family is not None:
        wording, taught = plan.family.wording(), family_of(plan.family.name).steps
        begin = taught.get(case.settings.policy.delimiter or "", "")
        if begin:
            steps = tuple(f"Step {number}: {step}" for number, step in enumerate(steps, 1))
        reading = wording.read(question, steps)
        request = ScoreRequest(reading.ids, reading.start, reading.ends)
    else:
        request = _in_policys_tokens(case, plan, engine, question, steps)
    values = (await engine.score(request)).values
    if not values or not all(math.isfinite(one) for one in values):
        raise ValueError(
            f"its scores {values} are no numbers: take another dtype (verifier.dtype), or copy the weights again"
        )
    return values


def _in_policys_tokens(
    case: Case, plan: ModelPlan, engine: VerifierEngine, question: str, steps: tuple[str, ...]
) -> ScoreRequest:
    from actors.replicas.reader import ReaderPlan, TokenReader

    prompts, grader, delimiter = case.prompts, case.grader, case.settings.policy.delimiter
    assert prompts is not None
    assert grader is not None
    folder = case.folders["policy"].path
    reader = TokenReader(ReaderPlan(folder, delimiter, grader), engine.info.eos_ids)
    ends = delimiter or "\n"
    prompt, solution = prompts.ids(question), prompts.continued("".join(step + ends for step in steps))
    offsets = reader.step_ends(solution)
    request = ScoreRequest((*prompt, *solution), len(prompt), tuple(len(prompt) + end for end in offsets))
    if plan.target is None:
        return request
    starts = (0, *offsets)
    texts = tuple(reader.step_text(solution, start, end) for start, end in zip(starts, offsets, strict=False))
    return replace(request, question=question, steps=texts)


def _judged(
    told: Sequence[_Told], pairs: Sequence[Pair], *, written: bool, family: bool, said: str
) -> Finding:
    """What these scores say of a verifier, by the last step's, which is what best_of_n goes by."""
    above = sum(right[-1] > wrong[-1] for right, wrong in told)
    details = [pairs[0].question]
    for name, steps, values in zip(
        ("right", "wrong"), (pairs[0].right, pairs[0].wrong), told[0], strict=True
    ):
        details += [
            f"  {name}:  {' | '.join(steps)}",
            f"  scores: {' | '.join(f'{one:.3f}' for one in values)}",
        ]
    ends = ", ".join(f"{right[-1]:.3f} to {wrong[-1]:.3f}" for right, wrong in told)
    of = "written for this" if written else "of the data set"
    text = f"right solutions score above wrong ones in {above} of {len(told)} pairs {of} ({ends}{said})"
    chance = by_chance(above, len(told))
    if chance <= SELDOM:
        return Finding("pair", "ok", text, tuple(details))
    if 2 * above > len(told):
        text += (
            f": a coin reaches that in {chance:.0%} of such looks, so it may tell nothing of these solutions; look at it "
            "on a few problems of your own (flopwise evaluate: best_of_n against majority)"
        )
        return Finding("pair", "warning", text, tuple(details))
    why = "the class of its score may be inverted"
    why += ", or it is of another family than verifier.family says" if family else ""
    text += (
        f": {why}, or it was not trained on such problems; best_of_n, beam and whatever else goes by its scores would choose "
        "wrong answers"
    )
    return Finding("pair", "warning", text, tuple(details))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
