"""The way to a model elsewhere that draws: it comes, dies, hangs, refuses, and stops what nobody waits for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from actors.engines.base import Aborted, EngineCounters, EngineInfo, GenerateRequest, Generation
from actors.engines.text_ends import TextEnds, Watch
from actors.errors import ServiceLost
from actors.messages import Pulse, States
from actors.replicas.peers import CallLost, PeerGone
from actors.replicas.remote_drawer import AT_ONCE, DrawError, RemoteDrawer, TaskDrawer
from tests.support.inprocess import Dead

INFO = EngineInfo("m", "h", "t", "local", "float32", 128, 97, (1,))
DRAWN = Generation((5, 1), (-1.0, -1.0), "eos", 3)


def request(seed: int = 0) -> GenerateRequest:
    return GenerateRequest((2, 3, 4), 8, seed)


@dataclass
class Link:
    """A replica that answers as its script says, and else draws; `waits` holds its answers back."""

    script: list[Exception | str] = field(default_factory=list)
    gone: bool = False
    waits: asyncio.Event | None = None
    seeds: list[int] = field(default_factory=list)
    watched: list[tuple[Any, States]] = field(default_factory=list)
    stopped: int = 0
    restarts: int = 0

    async def ready(self) -> str:
        if self.gone:
            raise PeerGone("dead for good")
        return f"process {self.restarts}"

    async def engine(self) -> EngineInfo:
        return INFO

    async def draw(self, request: GenerateRequest, states: States) -> Generation | str:
        self.seeds.append(request.seed)
        self.watched.append((request.watches, states))
        said = self.script.pop(0) if self.script else None
        try:
            if self.waits is not None:
                await self.waits.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if isinstance(said, Exception):
            raise said
        return DRAWN if said is None else said

    async def pulse(self) -> Pulse:
        return Pulse(EngineCounters(0, 7, 0.0, 1))

    async def restart(self) -> None:
        self.restarts += 1


def drawer_of(*links: Link, deadline: float = 5) -> TaskDrawer:
    """The drawer of a task that asks these replicas in this order."""
    return TaskDrawer(RemoteDrawer("reviser", links, deadline=deadline), tuple(range(len(links))), INFO)


async def test_a_call_that_its_replica_died_of_is_lost_and_the_next_goes_to_another() -> None:
    first, second = Link([Dead("killed")]), Link()
    drawer = drawer_of(first, second)
    with pytest.raises(CallLost, match="killed"):
        await drawer.generate(request(1))
    assert await drawer.generate(request(1)) == DRAWN
    assert (first.seeds, second.seeds) == ([1], [1])
    while not drawer.remote._peers.is_up(0):  # noqa: ASYNC110
        await asyncio.sleep(0)
    # It is back, and home again.
    await drawer.generate(request(2))
    assert first.seeds == [1, 2]
    assert drawer.remote.outstanding == 0


async def test_what_the_replica_refuses_is_no_lost_call() -> None:
    drawer = drawer_of(Link(["ValueError: too long"]))
    with pytest.raises(DrawError, match="too long"):
        await drawer.generate(request())
    assert await drawer.generate(request()) == DRAWN


async def test_where_all_are_gone_the_service_is() -> None:
    remote = RemoteDrawer("reviser", (Link(gone=True), Link(gone=True)))
    with pytest.raises(ServiceLost, match="no reviser answers: dead for good"):
        await remote.of("0/p1")
    assert remote.outstanding == 0
    home = await RemoteDrawer("reviser", (Link(gone=True), Link())).of("0/p1")
    assert home.info == INFO


async def test_one_that_hangs_is_killed_once_and_its_calls_are_lost() -> None:
    link = Link(waits=asyncio.Event())
    drawer = drawer_of(link, deadline=0.05)
    calls = await asyncio.gather(*(drawer.generate(request(n)) for n in range(3)), return_exceptions=True)
    assert [type(one) for one in calls] == [CallLost] * 3
    assert (link.restarts, link.stopped) == (1, 3)


async def test_what_nobody_waits_for_is_stopped_there_and_what_was_never_sent_took_nothing() -> None:
    link, ends = Link(waits=asyncio.Event()), list[BaseException]()
    drawer = drawer_of(link)

    async def ask(seed: int) -> None:
        try:
            await drawer.generate(request(seed))
        except asyncio.CancelledError as end:
            ends.append(end)

    calls = [asyncio.create_task(ask(n)) for n in range(AT_ONCE + 1)]
    while len(link.seeds) < AT_ONCE:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert drawer.remote.outstanding == AT_ONCE + 1
    for one in (calls[-1], calls[0]):
        one.cancel()
        await one
    unsent, sent = ends
    assert isinstance(unsent, Aborted)
    assert (unsent.drawn, unsent.prefilled) == (0, 0)
    assert type(sent) is asyncio.CancelledError
    assert (link.stopped, len(link.seeds)) == (1, AT_ONCE)
    link.waits.set()  # type: ignore[union-attr]
    await asyncio.gather(*calls)
    assert drawer.remote.outstanding == 0


async def test_of_texts_that_end_a_draw_only_their_states_travel() -> None:
    link = Link()
    texts = TextEnds([b"a", b"\n", b"b\n"], ["\n\n"])
    watches = Watch(texts, 0, "eos"), Watch(texts, texts.state([1]), "stop")
    await drawer_of(link).generate(replace(request(), watches=watches))
    await drawer_of(link).generate(request())
    assert link.watched == [((), (("eos", 0), ("stop", texts.state([1])))), ((), ())]
    assert texts.state([1]) != 0


async def test_one_task_asks_what_the_model_is_for_all() -> None:
    """Trap: hundreds of tasks that start ask a replica that has yet to come to it, and its draws wait behind them."""
    waits = asyncio.Event()

    class Asked(Link):
        asked = 0

        async def engine(self) -> EngineInfo:
            self.asked += 1
            await waits.wait()
            return await super().engine()

    link = Asked()
    remote = RemoteDrawer("reviser", (link,))
    tasks = [asyncio.create_task(remote.of(f"0/p{number}")) for number in range(20)]
    await asyncio.sleep(0.01)
    waits.set()
    assert {one.info for one in await asyncio.gather(*tasks)} == {INFO}
    assert link.asked == 1


async def test_a_replica_that_does_not_say_what_its_model_is_is_started_anew() -> None:
    class Mute(Link):
        async def engine(self) -> EngineInfo:
            if self.restarts == 0:
                await asyncio.Event().wait()
            return await super().engine()

    link = Mute()
    drawer = await asyncio.wait_for(RemoteDrawer("reviser", (link,), deadline=0.05).of("0/p1"), 5)
    assert (drawer.info, link.restarts) == (INFO, 1)
