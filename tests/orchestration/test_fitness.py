"""Prompts against contexts, by lengths alone."""

import re

import pytest

from actors.errors import UserError
from orchestration.setup.contexts import Contexts, check_contexts

PATHS = {"policy": "models/p", "verifier": "models/v"}


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (1, ""),
        (4095, ""),
        (4096, "prompt of 4,096 tokens fills the policy's context of 4,096"),
        (5000, "prompt of 5,000 tokens exceeds the policy's context of 4,096"),
    ],
)
def test_a_prompt_needs_room_for_one_token(prompt: int, reason: str) -> None:
    assert Contexts(4096, 10, 100).policy_refuses(prompt) == reason
    assert Contexts(None, 10, 100).policy_refuses(prompt) == ""


def test_what_may_be_drawn_must_fit_the_verifier() -> None:
    both = Contexts(policy=200, verifier=150, most=100)
    assert both.verifier_refuses(50) == ""
    assert both.verifier_refuses(51) == (
        "prompt of 51 tokens and a solution of up to 100 exceed the verifier's context of 150"
    )
    # The policy's context may cut a solution short, and then less has to fit.
    assert "up to 20" in both.verifier_refuses(180)
    assert Contexts(120, 120, 100).verifier_refuses(110) == ""
    assert Contexts(None, 150, 100).verifier_refuses(51)
    assert Contexts(200, None, 100).verifier_refuses(199) == ""


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        (Contexts(110, 110, 100), ""),
        (Contexts(None, None, 100), ""),
        (Contexts(109, None, 100), "policy.max_tokens = 100: .*the policy's context of 109; .* at most 99,"),
        (Contexts(200, 109, 100), "policy.max_tokens = 100: .*the verifier's context of 109; .* at most 99,"),
        (Contexts(10, None, 100), "policy.path = 'models/p': its context of 10 tokens leaves no room"),
        (Contexts(200, 10, 100), "verifier.path = 'models/v': its context of 10 tokens leaves no room"),
    ],
)
def test_the_shortest_prompt_decides_whether_a_run_makes_sense(contexts: Contexts, message: str) -> None:
    prompts = [5000, 10, 300]
    if not message:
        check_contexts(prompts, contexts, PATHS)
        return
    with pytest.raises(UserError) as error:
        check_contexts(prompts, contexts, PATHS)
    assert re.match(message, str(error.value))
