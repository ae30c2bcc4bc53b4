"""What a driver says of a run, with Ray's calls played."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest
import ray

from actors.cluster.driver import SILENT_S, Driver
from actors.engines.base import EngineCounters
from actors.messages import Pulse
from actors.work import Load, Progress


class Handle:
    """An actor whose methods all answer the same; None: they do not."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __getattr__(self, name: str) -> Handle:
        return self

    def remote(self, *_: object) -> Handle:
        return self


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(asked: list[Handle], **_: Any) -> tuple[list[Handle], list[Handle]]:
        return [one for one in asked if one.answer is not None], [one for one in asked if one.answer is None]

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", lambda handle: handle.answer)


def progress(**what: Any) -> Progress:
    return Progress(
        **{
            "tasks_open": 1,
            "outcomes": 0,
            "answered": 0,
            "unaffordable": 0,
            "quarantined": 0,
            "spent": 0,
            "reserved": 0,
            "wasted": 0,
            "budget": None,
            "seconds": 1.0,
            "load": {"policy": Load(tokens=0)},
            "oldest": (),
            "waiting_for": "",
            "replicas_down": (),
        }
        | what
    )


def why(names: Iterable[str]) -> str:
    return f"no place yet for {len(list(names))}"


@pytest.mark.parametrize(
    ("told", "waits"),
    [
        (progress(), "verifier-1 (no place yet for 1)"),
        (
            progress(waiting_for="policy-0", replicas_down=("policy-0",)),
            "policy-0, verifier-1 (no place yet for 2)",
        ),
        (progress(waiting_for="the disk is full"), "the disk is full"),
    ],
)
def test_a_verifier_that_is_not_up_is_named_after_a_while(
    told: Progress, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose trees all wait for it would stand without a word."""
    pulse = Pulse(EngineCounters(0, 0, 2.0, 0))
    verifiers = {"verifier-0": Handle(pulse), "verifier-1": Handle(None)}
    driver = Driver(Handle(told), Handle(None), verifiers, grace=0.0, sequences=1, why=why)
    first = driver.progress()
    assert "verifier" not in first.waiting_for
    assert (first.of("verifier").replicas, first.of("verifier").busy) == (1, 2.0)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + SILENT_S + 1.0)
    assert driver.progress().waiting_for == waits
