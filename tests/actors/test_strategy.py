"""Whose models a strategy asks, and where it lives: what it says itself, as far as that names somebody who draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from actors.strategy import asked_by, home_of


@dataclass(frozen=True)
class Asking:
    asks: Any
    uses_verifier: bool


@pytest.mark.parametrize(
    ("said", "asked", "home"),
    [
        (None, {"policy"}, "policy"),
        (frozenset({"policy"}), {"policy"}, "policy"),
        (frozenset({"reviser"}), {"reviser"}, "reviser"),
        (frozenset({"policy", "reviser"}), {"policy", "reviser"}, "policy"),
        # Somebody has to draw; and something else may have this name in a class of the user's own.
        (frozenset(), {"policy"}, "policy"),
        (frozenset({"verifier"}), {"policy"}, "policy"),
        (frozenset({"oracle"}), {"policy"}, "policy"),
        ("reviser", {"policy"}, "policy"),
    ],
)
@pytest.mark.parametrize("scored", [False, True])
def test_it_asks_whom_it_names_and_lives_beside_who_draws(
    said: Any, asked: set[str], home: str, scored: bool
) -> None:
    strategy: Any = Asking(said, scored)
    assert asked_by(strategy) == asked | ({"verifier"} if scored else set())
    assert home_of(strategy) == home
