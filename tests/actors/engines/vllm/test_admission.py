"""Admission alone: how many sequences an engine is let hold, by how full it says that its cache is."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from actors.engines.vllm.admission import FULL, ROOMY, Admission

usages = st.floats(0.0, 1.0)


def test_it_begins_with_what_fits_for_certain() -> None:
    assert Admission(tokens=8192, context=1024, most=64).slots == 8
    assert Admission(tokens=8192, context=64, most=64).slots == 64
    assert Admission(tokens=100, context=1024, most=64).slots == 1


def test_it_grows_while_all_slots_are_used_and_the_cache_has_room() -> None:
    admission = Admission(8192, 1024, most=64)
    seen = []
    for _ in range(12):
        admission.observe(ROOMY - 0.01, held=admission.slots, preempted=0)
        seen.append(admission.slots)
    assert seen[0] == 11
    assert seen == sorted(seen)
    assert seen[-1] == 64


def test_slots_that_nobody_uses_and_a_cache_that_fills_let_nothing_grow() -> None:
    admission = Admission(8192, 1024, most=64)
    admission.observe(0.0, held=7, preempted=0)
    admission.observe(ROOMY, held=8, preempted=0)
    admission.observe(1.0, held=8, preempted=0)
    assert admission.slots == 8


def test_a_full_cache_lets_no_more_in_than_it_holds() -> None:
    admission = Admission(8192, 1024, most=64)
    admission.observe(FULL + 0.01, held=5, preempted=0)
    assert admission.slots == 5


def test_a_preemption_cuts_what_was_held() -> None:
    admission = Admission(8192, 128, most=64)
    admission.observe(1.0, held=40, preempted=3)
    assert admission.slots == 30
    admission.observe(1.0, held=400, preempted=1)
    assert admission.slots == 22


@given(
    tokens=st.integers(1, 10**6),
    context=st.integers(1, 10**5),
    least=st.integers(1, 4),
    more=st.integers(0, 300),
    steps=st.lists(st.tuples(usages, st.integers(0, 400), st.sampled_from([0, 0, 1, 9])), max_size=40),
)
def test_slots_stay_between_least_and_most_and_move_for_a_reason(
    tokens: int, context: int, least: int, more: int, steps: list[tuple[float, int, int]]
) -> None:
    most = least + more
    admission = Admission(tokens, context, most, least)
    assert least <= admission.slots <= most
    for usage, held, preempted in steps:
        before = admission.slots
        admission.observe(usage, held, preempted)
        now = admission.slots
        assert least <= now <= most
        if now > before:
            assert not preempted
            assert held >= before
            assert usage < ROOMY
        if preempted:
            assert now < before or before == least
        if now < before:
            assert preempted or usage > FULL
