"""A map of digests answers as a dict does."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.store import digests
from actors.store.digests import DigestMap

NUMBERS = st.integers(0, (1 << 64) - 1)
# Few texts, so that most are set more than once.
TEXTS = st.text(max_size=2) | st.sampled_from("abcdefgh")


@settings(max_examples=60)
@given(
    st.lists(st.tuples(TEXTS, NUMBERS) | st.sampled_from(["count", "length"]), max_size=80),
    st.lists(TEXTS, max_size=5),
    st.integers(1, 9),
)
def test_it_answers_as_a_dict_does(
    steps: list[tuple[str, int] | str], others: list[str], gathered: int
) -> None:
    known: dict[str, int] = {}
    found = DigestMap()
    with patch.object(digests, "GATHERED", gathered):
        for step in steps:
            if isinstance(step, tuple):
                text, number = step
                known[text] = found[text] = number
                assert found.get(text) == number
            elif step == "count":
                assert found.counts() == Counter(known.values())
            else:
                assert len(found) == len(known)
        for text in [*known, *others]:
            assert found.get(text) == known.get(text)
            assert (text in found) == (text in known)
    assert len(found) == len(known)


def test_digests_that_share_a_half_are_two() -> None:
    """No two texts are known that do; the arrays are made here."""
    with (
        patch.object(digests, "_digest", lambda text: text.encode().ljust(16, b"\0")),
        patch.object(digests, "GATHERED", 2),
    ):
        found = DigestMap()
        same = [f"eight---{tail}" for tail in "abcdefg"]
        for number, text in enumerate(same):
            found[text] = number
        found[same[2]] = 99
        assert [found.get(text) for text in same] == [0, 1, 99, 3, 4, 5, 6]
        assert found.get("eight---x") is None
        assert len(found) == 7
