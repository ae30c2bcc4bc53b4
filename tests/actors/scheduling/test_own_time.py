"""Who hangs and who is starved of a processor, on a clock that stands until it is moved."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from actors.engines.base import EngineCounters
from actors.messages import Pulse
from actors.scheduling.own_time import MOST_STRETCH, OwnTime, answer_of
from tests.support.puppets import Clockwork

DEADLINE = 120.0


@dataclass
class Process:
    """Gets `share` of the processor that it wants, answers its pulse where it is `reachable`, and computes at `pace`."""

    loop: Clockwork
    share: float = 1.0
    reachable: bool = True
    pace: float = 0.0
    answer: asyncio.Future[str] = field(init=False)

    def __post_init__(self) -> None:
        self.answer = self.loop.create_future()

    async def call(self) -> str:
        return await self.answer

    async def pulse(self) -> Pulse:
        if not self.reachable:
            await self.loop.create_future()
        now = self.loop.time()
        return Pulse(EngineCounters(0, int(self.pace * now), 0.0, 1), (1 - self.share) * now)

    def called(self) -> asyncio.Task[str]:
        """A call that is on its way."""
        calling = self.loop.create_task(
            answer_of(self.call(), self.pulse, DEADLINE, moves=lambda pulse: pulse.counters.tokens_computed)
        )
        self.loop.rest()
        return calling

    def given_up(self, seconds: float) -> float | None:
        """When whoever calls it gives up, within `seconds`."""
        calling = self.called()
        while self.loop.now < seconds:
            self.loop.now += 5.0
            self.loop.rest()
            if calling.done():
                assert isinstance(calling.exception(), TimeoutError)
                assert self.answer.cancelled(), "nobody waits for it any more"
                return self.loop.now
        calling.cancel()
        self.loop.rest()
        return None


def test_one_that_does_not_run_at_all_is_given_up_at_its_deadline(loop: Clockwork) -> None:
    """Stopped, or its interpreter hangs: not even its pulse is answered."""
    assert Process(loop, reachable=False).given_up(1000) == DEADLINE


def test_one_whose_threads_wait_for_each_other_is_given_up_at_its_deadline(loop: Clockwork) -> None:
    """Its pulse is answered, and it never lacked a processor."""
    assert Process(loop).given_up(1000) == DEADLINE


def test_one_that_is_starved_is_waited_for(loop: Clockwork) -> None:
    given_up = Process(loop, share=0.2).given_up(3000)
    assert given_up is not None
    assert 3 * DEADLINE < given_up < 6 * DEADLINE, "as long as it takes to have its deadline to itself"


def test_one_that_gets_nothing_at_all_is_given_up_in_the_end(loop: Clockwork) -> None:
    given_up = Process(loop, share=0.0).given_up(1e6)
    assert given_up is not None
    assert given_up <= MOST_STRETCH * DEADLINE + DEADLINE


def test_one_that_computes_is_waited_for_as_long_as_it_does(loop: Clockwork) -> None:
    assert Process(loop, pace=0.1).given_up(20 * DEADLINE) is None


def test_one_that_was_not_looked_at_is_waited_for(loop: Clockwork) -> None:
    """Trap: whoever calls it stood still for minutes, and takes them for the other's."""
    calling = Process(loop, pace=0.1).called()
    for _ in range(5):
        loop.pass_by(2.5 * DEADLINE, step=2.5 * DEADLINE)
        loop.pass_by(DEADLINE, step=5.0)
    assert not calling.done()
    calling.cancel()
    loop.rest()


def test_whoever_stands_still_at_every_look_gives_up_in_the_end(loop: Clockwork) -> None:
    calling = Process(loop, reachable=False).called()
    loop.pass_by((MOST_STRETCH + 3) * DEADLINE, step=3 * DEADLINE)
    assert isinstance(calling.exception(), TimeoutError)


def test_an_answer_that_comes_is_the_answer(loop: Clockwork) -> None:
    process = Process(loop)
    calling = process.called()
    process.answer.set_result("done")
    loop.rest()
    assert calling.result() == "done"


def test_whoever_gives_up_takes_the_call_along(loop: Clockwork) -> None:
    process = Process(loop)
    calling = process.called()
    calling.cancel()
    loop.rest()
    assert process.answer.cancelled()


def test_another_process_begins_to_count_anew() -> None:
    own = OwnTime(0.0, starved=500.0)
    own.tell(20.0)
    assert own.at(100.0) == 100.0
    own.tell(70.0)
    assert own.at(100.0) == 50.0
