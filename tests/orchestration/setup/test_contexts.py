"""Prompts against contexts, by lengths alone."""

import re
from dataclasses import replace

import pytest

from actors.errors import UserError
from actors.strategy import ROLES, Role
from orchestration.problems.revising import Revising
from orchestration.setup.contexts import LEAST, Contexts, check_contexts

PATHS = {"policy": "models/p", "verifier": "models/v"}


def contexts(policy: int | None, verifier: int | None) -> Contexts:
    return Contexts({"policy": policy, "verifier": verifier}, 100)


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
    assert contexts(4096, 10).policy_refuses(prompt) == reason
    assert contexts(None, 10).policy_refuses(prompt) == ""


def test_what_may_be_drawn_must_fit_the_verifier() -> None:
    both = contexts(200, 150)
    assert both.verifier_refuses(50) == ""
    assert both.verifier_refuses(51) == (
        "prompt of 51 tokens and a solution of up to 100 exceed the verifier's context of 150"
    )
    # The policy's context may cut a solution short, and then less has to fit.
    assert "up to 20" in both.verifier_refuses(180)
    assert contexts(120, 120).verifier_refuses(110) == ""
    assert contexts(None, 150).verifier_refuses(51)
    assert contexts(200, None).verifier_refuses(199) == ""


def test_with_a_limit_a_prompt_has_room_for_a_whole_solution_or_is_refused() -> None:
    """So no draw hangs on the limit: what it cuts off is not drawn at all."""
    limited = Contexts({"policy": 4096, "verifier": 4096}, 100, limit=150)
    assert limited.policy_refuses(50) == ""
    assert limited.policy_refuses(51) == (
        "prompt of 51 tokens and a solution of up to 100 exceed policy.context = 150"
    )


@pytest.mark.parametrize(
    ("policy", "limit", "longest", "needed"),
    [
        (131_072, None, 10, LEAST + 128),
        (131_072, None, 2000, 2112),
        (1024, None, 2000, 1024),
        (None, None, 600, 704),
        (131_072, 4096, 10, 4096),
    ],
)
def test_an_engine_needs_room_for_the_longest_prompt_and_a_solution(
    policy: int | None, limit: int | None, longest: int, needed: int
) -> None:
    assert Contexts({"policy": policy, "verifier": 800}, 100, limit).needed("policy", longest) == needed
    assert Contexts({"policy": policy, "verifier": 800}, 100, limit).needed("verifier", longest) <= 800


def test_who_reads_attempts_needs_room_for_them_whatever_bounds_the_policy() -> None:
    many: dict[Role, int | None] = dict.fromkeys(ROLES, 131_072)
    # As the tokenizer has it: attempts stand behind the first token of a prompt, an end token behind each.
    framing = Revising(lead=1, again=1, after=(2,), ends=frozenset({2}))
    plain = Contexts(many, 100, 4096, {"reviser": framing}, reads=3)
    reading = replace(plain, framings={"reviser": framing, "verifier": framing})
    needs = {role: (plain.needed(role, 600), reading.needed(role, 600)) for role in ROLES}
    # 600, three attempts of 101 and a solution, in steps of 64.
    assert needs == {"policy": (4096, 4096), "reviser": (1024, 1024), "verifier": (4096, 1024)}
    # A verifier judges the solution alone where no attempt has room; a reviser is one that reads attempts.
    assert (reading.least("verifier", 600), reading.least("reviser", 600)) == (700, 801)


@pytest.mark.parametrize(
    ("both", "message"),
    [
        (contexts(110, 110), ""),
        (
            Contexts({"policy": 256}, 100, 300),
            "policy.context = 300: the policy's own context is 256 tokens: ",
        ),
        (
            Contexts({"policy": None}, 100, 109),
            "policy.context = 109: the shortest of 3 .* to at least 110, ",
        ),
        (Contexts({"policy": 256}, 100, 110), ""),
        (contexts(None, None), ""),
        (contexts(109, None), "policy.max_tokens = 100: .*the policy's context of 109; .* at most 99,"),
        (contexts(200, 109), "policy.max_tokens = 100: .*the verifier's context of 109; .* at most 99,"),
        (contexts(10, None), "policy.path = 'models/p': its context of 10 tokens leaves no room"),
        (contexts(200, 10), "verifier.path = 'models/v': its context of 10 tokens leaves no room"),
    ],
)
def test_the_shortest_prompt_decides_whether_a_run_makes_sense(both: Contexts, message: str) -> None:
    prompts = [5000, 10, 300]
    if not message:
        check_contexts(prompts, both, PATHS)
        return
    with pytest.raises(UserError) as error:
        check_contexts(prompts, both, PATHS)
    assert re.match(message, str(error.value))
