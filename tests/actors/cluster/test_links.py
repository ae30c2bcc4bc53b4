"""Links to actors, without Ray: names that are not there yet, schedulers that do not answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import ray

from actors.cluster.links import LOOKUPS, DrawLink, SolverLink, StartLink
from actors.engines.base import GenerateRequest
from actors.messages import States
from actors.scheduling.starts import Attempt
from tests.support.puppets import Clockwork


class Actor:
    """A policy replica that is up."""

    @property
    def info(self) -> Actor:
        return self

    async def remote(self) -> None:
        return


def ready(monkeypatch: pytest.MonkeyPatch, lookups: int) -> asyncio.Task[None]:
    """Wait for a replica whose name is known at that lookup."""
    looked: list[str] = []

    def get_actor(name: str) -> Actor:
        looked.append(name)
        if len(looked) < lookups:
            raise ValueError(f"Failed to look up actor with name '{name}'")
        return Actor()

    monkeypatch.setattr(ray, "get_actor", get_actor)
    loop = Clockwork()
    asyncio.set_event_loop(loop)
    waiting = loop.create_task(SolverLink("policy-0").ready())
    loop.pass_by(2.0 * LOOKUPS, step=1.0)
    loop.close()
    return waiting


def test_a_replica_that_is_about_to_be_made_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ready(monkeypatch, 3).exception() is None


def test_one_that_is_dead_for_good_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(ready(monkeypatch, LOOKUPS + 1).exception(), ValueError)


class Again:
    """What Ray says of an actor that it has started anew."""

    was_current_actor_reconstructed = True


@pytest.mark.parametrize(("number", "proven"), [(1, True), (2, False)])
def test_a_first_start_of_a_replica_that_was_up_is_proven(
    monkeypatch: pytest.MonkeyPatch, number: int, proven: bool
) -> None:
    """The scheduler that saw it come up may be gone, and the next one counts anew."""
    told = Attempt(number, 3.0, why="killed")

    class Scheduler:
        @property
        def begin(self) -> Scheduler:
            return self

        def remote(self, replica: str) -> Attempt:
            return told

    monkeypatch.setattr(ray, "get_actor", lambda _: Scheduler())
    monkeypatch.setattr(ray, "get", lambda answer, timeout: answer)
    monkeypatch.setattr(ray, "get_runtime_context", Again)
    assert StartLink("scheduler", "policy-0").begin() == replace(told, proven=proven)


def test_without_a_scheduler_a_start_is_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(name: str) -> Any:
        raise ValueError(f"Failed to look up actor with name '{name}'")

    monkeypatch.setattr(ray, "get_actor", nobody)
    monkeypatch.setattr(ray, "get_runtime_context", Again)
    start = StartLink("scheduler", "policy-0")
    start.failed("why")
    start.up()
    assert start.begin() == Attempt(proven=True)


class Drawing:
    """A reviser replica whose draw nobody answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.reference: asyncio.Future[Any] | None = None

    @property
    def draw(self) -> Drawing:
        return self

    def remote(self, request: GenerateRequest, states: States) -> asyncio.Future[Any]:
        self.reference = asyncio.get_running_loop().create_future()
        self.asked.set()
        return self.reference


async def test_a_draw_that_nobody_waits_for_is_stopped_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[object] = []
    monkeypatch.setattr(ray, "cancel", stopped.append)
    actor = Drawing()
    waiting = asyncio.create_task(DrawLink(actor).draw(GenerateRequest((1,), 4, 0)))
    await actor.asked.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert stopped == [actor.reference]
