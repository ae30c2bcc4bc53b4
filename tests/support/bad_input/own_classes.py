"""Strategies and verifiers of a user's own that cannot be found, or called."""

from __future__ import annotations

from pathlib import Path

from tests.support.bad_input.cases import Words, case, evaluate

MINE = """
class Shortest:
    def __init__(self, n): ...

class Named:
    text, uses_verifier, sequences = "named", False, 1

    def __init__(self, n): ...

    async def solve(self, prompt, models): ...

class Plain(Named):
    def solve(self, prompt, models):
        return "42"

class Bare(Named):
    async def solve(self): ...

class Called(Named):
    def text(self):
        return "called"

class Unsure(Named):
    def uses_verifier(self):
        return True

class Endless(Named):
    sequences = 0

class Sums:
    def __init__(self, wrong=0.1): ...

class Weighed:
    def __init__(self, weight): ...
"""


def mine(*more: str) -> Words:
    """Settings of a run with a module that has a strategy and two verifiers."""
    Path("mine.py").write_text(MINE)
    words = [word for word in evaluate() if not word.startswith("verifier")]
    return [*words, "cluster.packages=[mine.py]", "strategies=[best_of_n(n=2)]", *more]


def my_verifier(mapping: str) -> Words:
    return mine(f"verifier={mapping}")


@case
def strategy_not_found() -> Words:
    """a strategy's module that is not found"""
    return evaluate("strategies=[{_target_: mine.Shortest, n: 4}]")


@case
def misspelt_class() -> Words:
    """a misspelt class of a strategy"""
    return mine("strategies=[mine.Shortst(n=4)]")


@case
def no_such_parameter() -> Words:
    """a parameter that a strategy's class does not take"""
    return mine("strategies=[greedy,{_target_: mine.Shortest, m: 4}]")


@case
def no_strategy() -> Words:
    """a class that is no strategy"""
    return mine("strategies=[{_target_: mine.Sums}]")


@case
def no_coroutine() -> Words:
    """a `solve` that is not `async`"""
    return mine("strategies=[greedy,mine.Plain(n=2)]")


@case
def other_arguments() -> Words:
    """a `solve` that takes something else"""
    return mine("strategies=[greedy,mine.Bare(n=2)]")


@case
def text_that_is_none() -> Words:
    """a `text` that is no text"""
    return mine("strategies=[mine.Called(n=2)]")


@case
def neither_true_nor_false() -> Words:
    """a `uses_verifier` that is neither true nor false"""
    return mine("strategies=[mine.Unsure(n=2)]")


@case
def no_sequences() -> Words:
    """a strategy that runs no sequence"""
    return mine("strategies=[mine.Endless(n=2)]")


@case
def one_text_for_two() -> Words:
    """two strategies of one text"""
    return mine("strategies=[mine.Named(n=2),mine.Named(n=3)]")


@case
def no_class() -> Words:
    """a mapping without a class"""
    return mine("strategies=[{n: 4}]")


@case
def verifier_not_found() -> Words:
    """a verifier's module that is not found"""
    return [*evaluate()[:1], "verifier={_target_: mine.Sums, parameters: 0}", "policy.path=policy"]


@case
def no_such_parameter_of_a_verifier() -> Words:
    """a parameter that a verifier's class does not take"""
    return mine(
        "verifier=custom", "verifier._target_=mine.Sums", "verifier.wrnog=0.2", "verifier.parameters=0"
    )


@case
def parameter_lacks() -> Words:
    """a parameter that a verifier's class lacks"""
    return my_verifier("{_target_: mine.Weighed, parameters: 0}")


@case
def parameter_of_ours() -> Words:
    """a parameter that flopwise gives"""
    return my_verifier("{_target_: mine.Sums, device: cuda, parameters: 0}")


@case
def path_that_is_not_taken() -> Words:
    """a path that a verifier's class does not take"""
    Path("rules").mkdir()
    return my_verifier("{_target_: mine.Sums, path: rules, parameters: 0}")


@case
def no_such_path() -> Words:
    """a verifier's path that is not there"""
    Path("rules").mkdir()
    return my_verifier("{_target_: mine.Sums, path: rulse, parameters: 0}")


@case
def memory_for_an_own_verifier() -> Words:
    """a share of memory for a verifier of your own"""
    return [*my_verifier("{_target_: mine.Sums, parameters: 0}"), "cluster.verifier.memory=0.5"]


@case
def no_cost() -> Words:
    """a verifier whose cost is not known"""
    return my_verifier("{_target_: mine.Sums}")


@case
def no_such_package() -> Words:
    """a package that is not there"""
    Path("mine").mkdir()
    return evaluate("cluster.packages=[mien]")


@case
def package_of_no_modules() -> Words:
    """a package of no modules"""
    Path("empty").mkdir()
    return evaluate("cluster.packages=[empty]")


@case
def name_that_is_taken() -> Words:
    """a package whose name is taken"""
    Path("json").mkdir()
    Path("json/__init__.py").touch()
    return evaluate("cluster.packages=[json]")
