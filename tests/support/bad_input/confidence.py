"""What the policy's own confidence, a verifier without a model, does not take."""

from __future__ import annotations

from tests.support.bad_input.cases import Words, case, evaluate
from tests.support.bad_input.served import served


def confident(*more: str) -> Words:
    words = [word for word in evaluate() if not word.startswith("verifier")]
    return [*words, "verifier=confidence", "strategies=[best_of_n(n=2)]", *more]


@case
def model_of_none() -> Words:
    """a model for the policy's own confidence"""
    return confident("verifier.path=prm")


@case
def engine_of_none() -> Words:
    """an engine for the policy's own confidence"""
    return confident("verifier.engine=vllm")


@case
def another_measure() -> Words:
    """a measure of confidence that is misspelt"""
    return confident("verifier.measure=self_certanty")


@case
def measure_of_another_engine() -> Words:
    """a measure of confidence that the engine does not tell"""
    behind = [
        word for word in served("verifier=confidence") if not word.startswith(("verifier.path", "strategies"))
    ]
    return [*behind, "verifier.measure=self_certainty", "strategies=[best_of_n(n=2)]"]


@case
def nothing_to_measure() -> Words:
    """the policy's own confidence without log-probabilities"""
    return confident("policy.likelihoods=false")


@case
def nothing_drawn_yet() -> Words:
    """a plan that has prompts judged, by the policy's own confidence"""
    priced = ["budget.flops=1e12", "budget.allocation=global"]
    return confident("strategies=[compute_optimal(plan='bundled/countdown')]", *priced)
