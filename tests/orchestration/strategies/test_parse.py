"""Strategies from text and back."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import UserError
from actors.strategy import Models, Prompt, Solution, Strategy
from orchestration.strategies import parse as parsing
from orchestration.strategies.parse import parse, registered
from orchestration.strategies.registry import STRATEGIES
from orchestration.strategies.sampling.adaptive_consistency import AdaptiveConsistency
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.early_stopping import EarlyStopping
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.sampling.monte_carlo import MonteCarlo
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.dvts import Dvts
from orchestration.strategies.search.lookahead import Lookahead
from orchestration.strategies.search.mcts import Mcts
from orchestration.strategies.search.particle_filtering import ParticleFiltering
from orchestration.strategies.search.rebase import Rebase
from orchestration.strategies.search.rounds import FINISHED
from orchestration.strategies.selection import AGGREGATIONS

COUNTS = st.integers(1, 512)
SAMPLING = {
    "temperature": st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
    "top_p": st.floats(min_value=0, max_value=1, exclude_min=True, allow_nan=False),
}


@st.composite
def searches(draw: st.DrawFn) -> Strategy:
    width = draw(st.integers(1, 16) | st.just("sqrt"))
    n = draw(COUNTS) if width == "sqrt" else draw(st.integers(1, 16)) * int(width)
    how = {name: draw(values) for name, values in SAMPLING.items()}
    how |= {"rounds": draw(COUNTS), "aggregation": draw(st.sampled_from(AGGREGATIONS))}
    kind = draw(st.sampled_from([Beam, Lookahead, Dvts, Mcts]))
    if kind is Mcts:
        return Mcts(n, width, draw(st.floats(0, 1e9)), draw(COUNTS), **how)
    how["finished"] = draw(st.sampled_from(FINISHED))
    if kind is Beam:
        return Beam(n, width, **how, every=draw(st.integers(1, 4)), merge=draw(st.booleans()))
    return Lookahead(n, width, draw(st.integers(0, 4)), **how) if kind is Lookahead else Dvts(n, width, **how)


ANY: st.SearchStrategy[Strategy] = st.one_of(
    st.just(Greedy()),
    st.builds(Majority, COUNTS, **SAMPLING),
    st.builds(EarlyStopping, COUNTS, st.integers(2, 512), **SAMPLING),
    st.builds(AdaptiveConsistency, COUNTS, st.floats(0.5, 1, exclude_max=True), **SAMPLING),
    st.builds(BestOfN, COUNTS, st.booleans(), st.sampled_from(AGGREGATIONS), **SAMPLING),
    searches(),
    st.builds(
        ParticleFiltering,
        COUNTS,
        SAMPLING["temperature"],
        st.booleans(),
        COUNTS,
        st.sampled_from(AGGREGATIONS),
        **SAMPLING,
    ),
    st.builds(Rebase, COUNTS, SAMPLING["temperature"], COUNTS, st.sampled_from(AGGREGATIONS), **SAMPLING),
    st.builds(MonteCarlo, COUNTS, COUNTS, **SAMPLING),
)


@given(ANY)
def test_text_and_strategy_round_trip(strategy: Strategy) -> None:
    assert parse(strategy.text) == strategy
    assert parse(strategy.text).text == strategy.text
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert isinstance(strategy, Strategy)
    assert " " not in strategy.text


@given(ANY, ANY)
def test_same_text_means_same_strategy(one: Strategy, other: Strategy) -> None:
    assert (one.text == other.text) == (one == other)


@pytest.mark.parametrize(
    ("text", "strategy", "canonical"),
    [
        ("greedy", Greedy(), "greedy"),
        ("greedy()", Greedy(), "greedy"),
        ("majority(n=16)", Majority(16), "majority(n=16)"),
        (" best_of_n( weighted = True, n = 16 ) ", BestOfN(16), "best_of_n(n=16)"),
        ("best_of_n(n=4,weighted=False)", BestOfN(4, weighted=False), "best_of_n(n=4,weighted=False)"),
        ("best_of_n(n=4,weighted=false)", BestOfN(4, weighted=False), "best_of_n(n=4,weighted=False)"),
        ("early_stopping(n=16)", EarlyStopping(16), "early_stopping(n=16,window=5)"),
        ("adaptive_consistency(n=16)", AdaptiveConsistency(16), "adaptive_consistency(n=16)"),
        ("beam(n=16,width=4)", Beam(16), "beam(n=16,width=4)"),
        ("beam(n=16)", Beam(16), "beam(n=16,width=4)"),
        ("beam(width=sqrt, n=64)", Beam(64, "sqrt"), "beam(n=64,width=sqrt)"),
        ("beam(n=4,aggregation='min')", Beam(4, aggregation="min"), "beam(n=4,width=4,aggregation=min)"),
        (
            "beam(n=8,every=2,merge=true)",
            Beam(8, every=2, merge=True),
            "beam(n=8,width=4,every=2,merge=True)",
        ),
        ("lookahead(n=8)", Lookahead(8), "lookahead(n=8,width=4,k=3)"),
        ("lookahead(n=8,k=0,rounds=5)", Lookahead(8, k=0, rounds=5), "lookahead(n=8,width=4,k=0,rounds=5)"),
        ("dvts(n=16)", Dvts(16), "dvts(n=16,width=4)"),
        ("majority(n=2,temperature=1)", Majority(2), "majority(n=2)"),
        ("majority(n=2,temperature=2)", Majority(2, 2.0), "majority(n=2,temperature=2.0)"),
        ("particle_filtering(n=4)", ParticleFiltering(4), "particle_filtering(n=4)"),
        ("mcts(n=16)", Mcts(16), "mcts(n=16,width=4,parallel=4)"),
        ("rebase(n=16)", Rebase(16), "rebase(n=16)"),
        ("rebase(n=16,temperature_b=1)", Rebase(16, 1.0), "rebase(n=16,temperature_b=1.0)"),
        ("monte_carlo", MonteCarlo(), "monte_carlo(samples=16,rollouts=16)"),
    ],
)
def test_texts(text: str, strategy: Strategy, canonical: str) -> None:
    assert parse(text) == strategy
    assert parse(text).text == canonical


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("baem(n=4)", "no strategy 'baem' (did you mean 'beam'?)"),
        ("bestofn(n=4)", "(did you mean 'best_of_n'?)"),
        ("xyz", "known are greedy, majority, "),
        ("beam(n=16,widht=4)", "no parameter 'widht' (did you mean 'width'?)"),
        ("greedy(n=1)", "no parameter 'n'; it takes none"),
        ("beam(n=16,aggregation=lats)", "(did you mean 'last'?)"),
        ("beam(width=4)", "beam needs n"),
        ("majority", "majority needs n"),
        ("beam(n=16,width=5)", "the nearest that do are 4 and 8"),
        ("lookahead(n=16,kk=4)", "no parameter 'kk' (did you mean 'k'?)"),
        ("dvts(n=16,width=3)", "dvts.width = 3: must divide n = 16; the nearest that do are 2 and 4"),
        ("beam(n=many)", "beam.n = 'many'"),
        ("beam(n=-4)", "beam.n = -4"),
        ("beam(n=4.0)", "beam.n = 4.0"),
        ("best_of_n(n=4,weighted=no)", "best_of_n.weighted = 'no'"),
        ("beam(16)", "name each parameter"),
        ("beam(*x)", "name each parameter"),
        ("beam(**x)", "name each parameter"),
        ("beam(n=1,n=2)", "each of them once"),
        ("beam(n=__import__('os').getpid())", "n must be a number, a word or a quoted text"),
        ("beam(n=2**4)", "n must be a number"),
        ("beam(n=os.sep)", "n must be a number"),
        ("beam(n=4)(n=4)", "must begin with a strategy's name"),
        ("lambda: 0", "must begin with a strategy's name"),
        ("beam(n=4", "cannot be read"),
        ("beam n=4", "cannot be read"),
        ("be\0am", "cannot be read"),
        ("beam(n=" + "(" * 900 + "4" + ")" * 900 + ")", "cannot be read"),
        ("beam(n=" + "4" * 5000 + ")", "must be a text such as"),
        ("", "must be a text such as"),
        (None, "must be a text such as"),
        ({"beam": 4}, "a mapping needs _target_"),
        ("no_such_module.Mine(n=4)", "cannot import no_such_module"),
        ("orchestration.strategies.search.beam.Baem(n=4)", "has no class 'Baem' (did you mean 'Beam'?)"),
        ("collections.OrderedDict(n=4)", "gives no strategy"),
        ("orchestration.strategies.search.beam.Beam(m=4)", "no parameter 'm'"),
    ],
)
def test_mistakes_are_named_and_mended(text: object, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text)  # type: ignore[arg-type]
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(max_size=30) | st.from_regex(r"(beam|greedy)\(.{0,20}\)", fullmatch=True))
def test_any_other_text_is_a_user_error(text: str) -> None:
    try:
        strategy = parse(text)
    except UserError:
        return
    assert parse(strategy.text) == strategy


@dataclass(frozen=True)
class Mine:
    """A user's own strategy: no base class, only the protocol."""

    n: int
    mood: str = "calm"

    @property
    def text(self) -> str:
        return f"{__name__}.Mine(n={self.n},mood={self.mood})"

    @property
    def uses_verifier(self) -> bool:
        return False

    @property
    def sequences(self) -> int:
        return self.n

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        return Solution(None, (), 0, 0)


def test_a_users_own_class() -> None:
    strategy = parse(f"{__name__}.Mine(n=3,mood=wild)")
    assert strategy == Mine(3, "wild")
    assert parse(strategy.text) == strategy
    with pytest.raises(UserError, match=r"did you mean 'mood'"):
        parse(f"{__name__}.Mine(n=3,mod=wild)")


class Boom:
    """A strategy that is not finished."""

    text, uses_verifier = "boom", False

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        return Solution(None, (), 0, 0)


def test_what_a_class_lacks_is_named() -> None:
    with pytest.raises(UserError) as error:
        parse(f"{__name__}.Boom")
    assert str(error.value) == (
        f"strategies = '{__name__}.Boom': {__name__}.Boom gives no strategy: it lacks sequences; it needs text, "
        "uses_verifier, sequences and async solve"
    )


class Unsolved(Boom):
    """A strategy that has the members and nothing to call."""

    sequences, solve = 1, None  # type: ignore[assignment]


def test_a_solve_that_cannot_be_called_is_none() -> None:
    with pytest.raises(UserError, match="gives no strategy: it lacks a solve that can be called"):
        parse(f"{__name__}.Unsolved")


@given(ANY)
def test_a_text_is_known_where_the_registry_has_it(strategy: Strategy) -> None:
    assert registered(strategy.text) == strategy


@pytest.mark.parametrize(
    "text", [f"{__name__}.Mine(n=3)", "no_module.Mine", "pass(n=4)", "beam(m=4)", "?", ""]
)
def test_no_other_text_is_known_and_nothing_is_imported(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "imported", None)
    assert registered(text) is None


def test_a_mapping_in_hydras_form_is_the_same_as_a_text() -> None:
    for name, values in (
        (f"{__name__}.Mine", {"n": 3, "mood": "wild"}),
        ("beam", {"n": 16, "width": "sqrt"}),
    ):
        text = f"{name}({','.join(f'{key}={value}' for key, value in values.items())})"
        assert parse({"_target_": name, **values}) == parse(text)
        assert parse({"_target_": name, **values}).text == parse(text).text
    given = {"_target_": f"{__name__}.Mine", "n": 3}
    parse(given)
    assert given == {"_target_": f"{__name__}.Mine", "n": 3}
    for mapping, says in (
        ({"_target_": f"{__name__}.Mine", "mod": 3}, "no parameter 'mod' (did you mean 'mood'?)"),
        ({"_target_": f"{__name__}.Mine"}, "Mine needs n"),
        ({"_target_": "baem", "n": 4}, "did you mean 'beam'"),
        ({"_target_": "collections.OrderedDict"}, "gives no strategy"),
        ({"_target_": "a..b"}, "must be the path of a class or function"),
        ({"_target_": 3}, "a mapping needs _target_"),
        ({"_target_": "beam", 3: 4}, "a mapping needs _target_"),
        ({"_target_": "beam", "_args_": [4]}, "no parameter '_args_'"),
    ):
        with pytest.raises(UserError) as error:
            parse(mapping)  # type: ignore[arg-type]
        assert says in str(error.value)
        assert str(mapping) in str(error.value)


def test_an_error_inside_a_users_module_keeps_its_traceback(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "broken_strategy_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        parse("broken_strategy_module.Mine")
    sys.modules.pop("broken_strategy_module", None)


def test_names_and_purity_of_the_registry() -> None:
    for name, kind in STRATEGIES.items():
        known: dict[str, Any] = {"n": 4, "plan": "plan.yaml", "sequential": 2, "parallel": 2}
        known |= {"population": 4, "k": 2, "rounds": 1, "of": parse("beam(n=4)"), "best": 2, "attempts": 1}
        known |= {"search": parse("dvts(n=4)")}
        strategy = kind(**{f.name: known[f.name] for f in fields(kind) if f.name in known})  # type: ignore[arg-type]
        assert strategy.text.partition("(")[0] == name
        assert strategy.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert not hasattr(strategy, "__dict__")
