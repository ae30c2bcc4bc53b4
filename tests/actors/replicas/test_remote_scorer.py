"""The way to verifiers that come, go, hang and are killed by what they are asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from actors.engines.base import EngineCounters, ScoreRequest, Scores
from actors.errors import ServiceLost
from actors.messages import Pulse
from actors.replicas.peers import CallLost, PeerGone, rendezvous
from actors.replicas.remote_scorer import TOGETHER, RemoteScorer, TaskScorer
from tests.support.inprocess import Dead
from tests.support.puppets import Clockwork


def request(length: int = 9) -> ScoreRequest:
    return ScoreRequest(tuple(range(40, 40 + length)), 5, (length,))


@dataclass
class Link:
    """A verifier that answers call by call as it is told; without a script it answers each request. A request of
    `poison` tokens kills it; once dead it is up again when `back` is set."""

    script: list[Exception | None] = field(default_factory=list)
    calls: list[list[int]] = field(default_factory=list)
    waits: asyncio.Event | None = None
    back: asyncio.Event | None = None
    gone: bool = False
    poison: int = 0
    restarts: int = 0
    works: bool = False
    computed: int = 0
    pulses: int = 0

    async def ready(self) -> str:
        if self.gone:
            raise PeerGone("dead for good")
        if self.back is not None and self.calls:
            await self.back.wait()
        return f"process {self.restarts}"

    async def score(self, requests: list[ScoreRequest]) -> list[Scores | str]:
        self.calls.append([len(r.token_ids) for r in requests])
        failure = self.script.pop(0) if self.script else None
        if self.waits is not None:
            await self.waits.wait()
        if failure is not None:
            raise failure
        if self.gone or self.poison in self.calls[-1]:
            raise Dead("killed")
        return [
            Scores((0.5,), len(r.token_ids)) if len(r.token_ids) < 50 else "ValueError: long"
            for r in requests
        ]

    async def pulse(self) -> Pulse:
        self.pulses += 1
        self.computed += self.works
        return Pulse(EngineCounters(0, self.computed, 0.0, 1))

    async def restart(self) -> None:
        self.restarts += 1


def scorer_of(links: tuple[Link, ...], deadline: float = 5) -> TaskScorer:
    """The scorer of a task that asks these verifiers in this order."""
    return TaskScorer(RemoteScorer(links, deadline=deadline), tuple(range(len(links))))


async def insist(scorer: TaskScorer, length: int) -> Scores:
    """Ask again until the call is not lost, as a task does."""
    while True:
        try:
            return await scorer.score(request(length))
        except CallLost:
            continue


async def test_requests_of_a_moment_travel_as_one_call() -> None:
    link = Link()
    scorer = scorer_of((link,))
    answers = await asyncio.gather(*(scorer.score(request(6 + i)) for i in range(5)))
    assert link.calls == [[6, 7, 8, 9, 10]]
    assert [answer.computed for answer in answers] == [6, 7, 8, 9, 10]
    await scorer.score(request())
    assert [len(call) for call in link.calls] == [5, 1]


async def test_who_was_scored_does_not_wait_for_all_that_were_asked_with_it() -> None:
    """Trap: a whole wave of steps in one call. The policy stands still until its last one is scored."""

    @dataclass
    class Slow(Link):
        async def score(self, requests: list[ScoreRequest]) -> list[Scores | str]:
            if self.calls:
                self.waits = asyncio.Event()
            return await super().score(requests)

    scorer = scorer_of((Slow(),))
    asked = [asyncio.create_task(scorer.score(request(6 + i % 30))) for i in range(3 * TOGETHER)]
    await asyncio.wait_for(asyncio.gather(*asked[:TOGETHER]), 60)
    assert not any(one.done() for one in asked[TOGETHER:])
    for one in asked:
        one.cancel()


async def test_a_call_in_flight_does_not_hold_the_next_one_up() -> None:
    link = Link(waits=asyncio.Event())
    scorer = scorer_of((link,))
    first = asyncio.create_task(scorer.score(request(6)))
    while not link.calls:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    second = asyncio.create_task(scorer.score(request(7)))
    while len(link.calls) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert link.waits is not None
    link.waits.set()
    assert [answer.computed for answer in await asyncio.gather(first, second)] == [6, 7]


async def test_a_request_at_fault_fails_alone() -> None:
    scorer = scorer_of((Link(),))
    good, bad = await asyncio.gather(
        scorer.score(request(7)), scorer.score(request(60)), return_exceptions=True
    )
    assert isinstance(good, Scores)
    assert isinstance(bad, RuntimeError)
    assert str(bad) == "ValueError: long"


async def test_a_lost_call_is_told_and_another_verifier_is_asked() -> None:
    first, second = Link([Dead("killed")], back=asyncio.Event()), Link()
    scorer = scorer_of((first, second))
    with pytest.raises(CallLost, match="killed"):
        await scorer.score(request(8))
    assert (await scorer.score(request(8))).computed == 8
    assert (first.calls, second.calls) == ([[8]], [[8]])


async def test_a_verifier_that_is_back_is_asked_again() -> None:
    """Its problems' prefixes belong there, and without it all would be the others' to carry to the end of the run."""
    first, second = Link([Dead("killed")], back=asyncio.Event()), Link()
    scorer = scorer_of((first, second))
    await insist(scorer, 8)
    await insist(scorer, 9)
    assert (first.calls, second.calls) == ([[8]], [[8], [9]])
    assert first.back is not None
    first.back.set()
    while scorer.remote._peers._down:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await insist(scorer, 10)
    assert (first.calls, second.calls) == ([[8], [10]], [[8], [9]])


async def test_the_only_verifier_is_waited_for() -> None:
    """Trap: a verifier that restarts fails each call at once, and a handful of tries is over before it is back."""
    back = asyncio.Event()
    link = Link([Dead("killed")], back=back)
    scorer = scorer_of((link,))
    waiting = asyncio.create_task(insist(scorer, 8))
    while not scorer.remote._peers._down:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert link.calls == [[8]], "nothing is sent to a verifier that is not up: it would be charged"
    back.set()
    assert (await asyncio.wait_for(waiting, 5)).computed == 8


def test_a_verifier_that_waits_for_a_machine_is_waited_for_and_left_alone(loop: Clockwork) -> None:
    """Trap: held to hang as it loads, it is killed, and its place in the queue for a machine is lost."""
    back = asyncio.Event()
    link = Link([Dead("killed")], back=back)
    scorer = scorer_of((link,))
    waiting = loop.create_task(insist(scorer, 8))
    loop.pass_by(36_000.0, step=10.0)
    assert (link.restarts, waiting.done()) == (0, False)
    back.set()
    loop.pass_by(3.0, step=1.0)
    assert waiting.result().computed == 8


async def test_verifiers_that_are_dead_for_good_are_not_waited_for() -> None:
    links = (Link(gone=True), Link(gone=True))
    scorer = scorer_of(links)
    with pytest.raises(ServiceLost, match="no verifier answers: dead for good"):
        await asyncio.wait_for(insist(scorer, 8), 5)
    assert [len(link.calls) for link in links] == [0, 0]


async def test_a_verifier_that_hangs_is_started_anew_and_left_for_another() -> None:
    first, second = Link(waits=asyncio.Event(), back=asyncio.Event()), Link()
    scorer = scorer_of((first, second), deadline=0.05)
    assert (await asyncio.wait_for(insist(scorer, 8), 5)).computed == 8
    assert first.restarts == 1


async def test_one_that_hangs_is_not_asked_again_before_another_process_is_up() -> None:
    """Trap: its channel of health answers until the kill arrives, and each call that it hangs in is charged."""

    @dataclass
    class Hung(Link):
        looks: int = 0

        async def ready(self) -> str:
            self.looks += 1
            if self.looks > 3 and self.waits is not None:
                self.waits = None
                self.restarts += 1
            return f"process {self.waits is None}"

    link = Hung(waits=asyncio.Event())
    scorer = scorer_of((link,), deadline=0.05)
    assert (await asyncio.wait_for(insist(scorer, 8), 5)).computed == 8
    assert link.calls == [[8], [8]]


def test_calls_that_run_out_together_start_a_verifier_anew_once(loop: Clockwork) -> None:
    link = Link(waits=asyncio.Event(), back=asyncio.Event())
    scorer = scorer_of((link,), deadline=120)
    asked = []
    for number in range(3):
        asked.append(loop.create_task(scorer.score(request(8 + number))))
        loop.pass_by(0.2)
        assert len(link.calls) == number + 1
    loop.pass_by(160.0)
    assert [type(one.exception()) for one in asked] == [CallLost] * 3
    assert link.restarts == 1


async def test_a_request_that_kills_verifiers_fails_and_takes_nobody_along() -> None:
    link = Link(poison=13)
    scorer = scorer_of((link,))
    results = await asyncio.wait_for(
        asyncio.gather(*(insist(scorer, n) for n in (11, 12, 13, 14)), return_exceptions=True), 10
    )
    assert [isinstance(r, Scores) for r in results] == [True, True, False, True]
    assert "verifiers were lost with this request" in str(results[2])
    assert sum(13 in call for call in link.calls) == 4


async def test_who_is_cancelled_is_not_asked_for_again() -> None:
    link = Link([Dead("killed")])
    scorer = scorer_of((link,))
    one, two = (asyncio.create_task(insist(scorer, 6 + i)) for i in range(2))
    while not link.calls:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    one.cancel()
    assert (await two).computed == 7
    assert link.calls == [[6, 7], [7]]


def test_a_verifier_that_is_busy_is_waited_for(loop: Clockwork) -> None:
    """It does not answer for many deadlines, but computes."""
    done = asyncio.Event()
    link = Link(waits=done, works=True)
    scorer = scorer_of((link,), deadline=120)
    asking = loop.create_task(scorer.score(request(9)))
    loop.pass_by(1200.0, step=1.0)
    assert not asking.done()
    done.set()
    loop.pass_by(1.0)
    assert asking.result().values == (0.5,)
    assert link.restarts == 0
    assert len(link.calls) == 1


def test_all_calls_that_wait_for_a_busy_verifier_ask_for_one_pulse(loop: Clockwork) -> None:
    """Trap: each of hundreds asks for its own, and the verifier has no time left to answer any of them."""
    done = asyncio.Event()
    link = Link(waits=done, works=True)
    scorer = scorer_of((link,), deadline=120)
    asked = []
    for place in range(200):
        asked.append(loop.create_task(scorer.score(request(9 + place % 30))))
        loop.pass_by(0.2)
    loop.pass_by(200.0)
    assert (len(link.calls), link.restarts) == (200, 0)
    # In a deadline a hundred at most, and none before a quarter of it.
    assert 10 < link.pulses <= 210 / 1.2 + 1
    done.set()
    loop.pass_by(1.0)
    assert all(one.done() for one in asked)


def test_a_pulse_that_never_came_back_is_not_waited_for_of_the_next_process(loop: Clockwork) -> None:
    @dataclass
    class Mute(Link):
        """Its first process answers nothing."""

        async def pulse(self) -> Pulse:
            if self.restarts == 0:
                await asyncio.Event().wait()
            return await super().pulse()

    link = Mute(waits=asyncio.Event(), works=True)
    scorer = scorer_of((link,), deadline=120)
    asking = loop.create_task(insist(scorer, 9))
    loop.pass_by(160.0)
    assert link.restarts == 1
    loop.pass_by(300.0)
    assert (link.restarts, len(link.calls)) == (1, 2), "it computes, and is waited for"
    assert link.waits is not None
    link.waits.set()
    loop.pass_by(1.0)
    assert asking.result().computed == 9


async def test_whatever_fails_nobody_waits_for_ever() -> None:
    class Short(Link):
        async def score(self, requests: list[ScoreRequest]) -> list[Scores | str]:
            return (await super().score(requests))[:1]

    scorer = scorer_of((Short(),))
    answers = await asyncio.wait_for(
        asyncio.gather(*(scorer.score(request(9 + i)) for i in range(2)), return_exceptions=True), 5
    )
    assert isinstance(answers[0], Scores)
    assert isinstance(answers[1], CallLost)


@pytest.mark.parametrize("name", ["arithmetic-{}", "math500/test/algebra/{}.json", "{:064x}"])
def test_problems_spread_evenly_over_many_verifiers(name: str) -> None:
    """Trap: ids that differ in a digit are neighbours under a sum of bytes."""
    tasks, verifiers = 3200, 64
    load = Counter(rendezvous(f"0/{name.format(i)}", verifiers)[0] for i in range(tasks))
    assert len(load) == verifiers
    assert max(load.values()) < 1.6 * tasks / verifiers, "chance alone gives 1.35"


def test_a_lost_verifier_moves_its_own_problems_and_to_all_others() -> None:
    verifiers, lost = 16, 5
    orders = [rendezvous(f"0/arithmetic-{i}", verifiers) for i in range(1600)]
    moved = Counter(order[1] for order in orders if order[0] == lost)
    assert set(moved) == set(range(verifiers)) - {lost}
    assert max(moved.values()) < 4 * sum(moved.values()) / (verifiers - 1)
    fewer = [rendezvous(f"0/arithmetic-{i}", verifiers - 1) for i in range(1600)]
    assert all(
        tuple(n for n in old if n < verifiers - 1) == new for old, new in zip(orders, fewer, strict=True)
    )


async def test_tasks_of_one_home_travel_together_and_of_two_apart() -> None:
    links = (Link(), Link(), Link())
    remote = RemoteScorer(links)
    homes = [TaskScorer(remote, order) for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2))]
    await homes[2].score(request(6))
    for link in links:
        link.calls.clear()
    await asyncio.gather(*(home.score(request(7 + i)) for i, home in enumerate(homes)))
    assert [link.calls for link in links] == [[[7, 8]], [[9]], []]


async def test_tasks_of_a_dead_verifier_go_each_its_own_way_and_come_home() -> None:
    back = asyncio.Event()
    links = (Link([Dead("killed")], back=back), Link(), Link())
    remote = RemoteScorer(links)
    one, two = TaskScorer(remote, (0, 1, 2)), TaskScorer(remote, (0, 2, 1))
    await asyncio.gather(insist(one, 7), insist(two, 8))
    assert [link.calls for link in links] == [[[7, 8]], [[7]], [[8]]]
    back.set()
    while remote._peers._down:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await asyncio.gather(insist(one, 9), insist(two, 10))
    assert links[0].calls[1:] == [[9, 10]]


async def test_what_waits_to_travel_to_a_verifier_that_goes_down_is_asked_of_another_at_no_cost() -> None:
    first, second = Link(back=asyncio.Event()), Link()
    scorer = scorer_of((first, second))
    await scorer.score(request(6))
    asking = asyncio.create_task(scorer.score(request(7)))
    while not scorer.remote._waiting:  # noqa: ASYNC110
        await asyncio.sleep(0)
    scorer.remote._peers._watch(0)
    assert (await asking).computed == 7
    assert (first.calls, second.calls) == ([[6]], [[7]])
