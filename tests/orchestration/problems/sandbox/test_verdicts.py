"""Which programs pass their tests, and that none passes by what it does to its interpreter."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from orchestration.problems.sandbox.run import Limits, Verdict, run
from orchestration.problems.sandbox.values import Unpassable, packed, unpacked
from tests.support.kernel import needs_sandbox

# A test of a function whose answer is 4.
TESTS = [
    "import math",
    "assert math.isclose(f(2), 4) and abs(f(2) - 4) < 1e-6 and isinstance(f(2), int)",
    "assert f(2) == 4",
]


def judged(program: str, *tests: str, **more: Any) -> Verdict:
    return run({"program": [program], "tests": list(tests or TESTS), **more}, Limits(processor_seconds=2))


@needs_sandbox
def test_right_program_passes_and_wrong_ones_do_not() -> None:
    assert judged("def f(x):\n    return 2 * x") == Verdict(passed=True)
    assert judged("def f(x):\n    return x").why == "AssertionError"
    assert judged("def g(x):\n    return 2 * x").why == "NameError: name 'f' is not defined"
    assert "does not run" in judged("def f(x:").why


CHEATS = {
    "leaves by sys.exit": "import sys\nsys.exit(0)",
    "leaves by os._exit": "import os\nos._exit(0)",
    "leaves as it is called": "import os\ndef f(x): os._exit(0)",
    "raises SystemExit": "def f(x): raise SystemExit(0)",
    "prints what a harness might": "print('passed')\nprint('{\"passed\": true}')\ndef f(x): return 5",
    "writes to all that is open": (
        "import os\n"
        "for end in range(64):\n"
        "    for text in (b'{\"passed\": true}\\n', b'{\"value\": null}\\n'):\n"
        "        try: os.write(end, text)\n"
        "        except OSError: pass\n"
        "def f(x): return 5"
    ),
    "equals everything": (
        "class E:\n"
        "    def __eq__(self, other): return True\n"
        "    __lt__ = __gt__ = __eq__\n"
        "def f(x): return E()\n"
    ),
    "is a number that equals everything": (
        "class E(int):\n"
        "    __eq__ = lambda *_: True\n"
        "    __abs__ = __sub__ = lambda *_: 0\n"
        "    __hash__ = int.__hash__\n"
        "def f(x): return E(5)\n"
    ),
    "patches built-in functions": (
        "import builtins\n"
        "builtins.abs = lambda x: 0\n"
        "builtins.isinstance = lambda *_: True\n"
        "def f(x): return 5\n"
    ),
    "patches modules": (
        "import math, operator\n"
        "math.isclose = lambda *_, **__: True\n"
        "operator.eq = lambda *_: True\n"
        "def f(x): return 5\n"
    ),
    "patches AssertionError": (
        "import builtins\nclass Never(Exception): pass\nbuiltins.AssertionError = Never\ndef f(x): return 5\n"
    ),
    "patches what answers for it": (
        "import sys\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.startswith('sandbox'):\n"
        "        module.packed = lambda value, named, depth=0: True\n"
        "        module.judge = lambda *_: None\n"
        "def f(x): return 5"
    ),
    "traces and swallows": "import sys\nsys.settrace(lambda *_: None)\nsys.excepthook = lambda *_: None\ndef f(x): return 5",
    "has a check and names of its own": (
        "def check(candidate): pass\n"
        "def abs(x): return 0\n"
        "def isinstance(*_): return True\n"
        "def f(x): return 5\n"
    ),
    "recurses for ever": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)",
    "crashes": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "answers with a flood": "def f(x): return 'x' * 10**8",
    "answers what is nested too deeply": "def f(x):\n    for _ in range(5000): x = [x]\n    return x",
    "answers with itself": "def f(x):\n    x = []\n    x.append(x)\n    return x",
}


@needs_sandbox
@pytest.mark.parametrize("program", CHEATS.values(), ids=CHEATS.keys())
def test_no_cheat_passes(program: str) -> None:
    verdict = judged(program)
    assert not verdict.passed
    assert verdict.why
    assert not verdict.refused


@needs_sandbox
def test_flood_of_output_changes_nothing() -> None:
    program = (
        "import sys\n"
        "def f(x):\n"
        "    for _ in range(20): sys.stdout.write('x' * 10**6), sys.stderr.write('y' * 10**6)\n"
        "    return 4\n"
    )
    assert judged(program) == Verdict(passed=True)


@needs_sandbox
def test_tests_that_catch_exceptions_do_not_catch_a_lost_program() -> None:
    tests = "def g():\n    try:\n        f(2)\n    except Exception:\n        return True\nassert g()"
    assert judged("def f(x): raise ValueError(x)", tests) == Verdict(passed=True)
    assert not judged("import os\ndef f(x): os._exit(0)", tests).passed


@needs_sandbox
def test_exceptions_keep_their_class() -> None:
    tests = (
        "try:\n    f(2)\nexcept KeyError as error:\n    assert 'two' in str(error)\nelse:\n    assert False"
    )
    assert judged("class Mine(KeyError): pass\ndef f(x): raise Mine('two')", tests) == Verdict(passed=True)


@needs_sandbox
def test_objects_of_the_program_are_used_from_outside() -> None:
    program = (
        "class Node:\n"
        "    def __init__(self, value, left=None): self.value, self.left = value, left\n"
        "    def doubled(self): return 2 * self.value\n"
        "def depth(node): return 0 if node is None else 1 + depth(node.left)\n"
        "def squares(n): return (i * i for i in range(n))\n"
        "def same(node): return node\n"
    )
    tests = [
        "assert depth(root) == 2 and depth(root.left) == 1",
        "assert root.left.value == 5 and root.doubled() == 2",
        "assert list(squares(3)) == [0, 1, 4] and 4 in squares(3)",
        "assert same(root) == root and same(root) != root.left",
    ]
    setup = "root = Node(1)\nroot.left = Node(value=5)"
    assert judged(program, *tests, setup=setup) == Verdict(passed=True)


@needs_sandbox
def test_question_gives_its_tests_what_it_defines() -> None:
    prompt = (
        "from typing import List\n\n"
        "def helper(x: int) -> int:\n    return x + 1\n\n"
        'def f(x: int) -> int:\n    """Inverse."""\n'
    )
    check = "def check(candidate):\n    for one in range(5):\n        assert candidate(helper(one)) == one\n"
    given = {"prompt": prompt, "entry_point": "f"}
    assert judged("def f(x): return x - 1", check, **given) == Verdict(passed=True)
    # Its own helper is not the one that its tests use.
    cheat = "def helper(x): return x\ndef f(x): return x"
    assert not judged(cheat, check, **given).passed


@needs_sandbox
def test_name_of_pythons_is_the_programs_where_it_is_said_so() -> None:
    program, test = "def sum(a, b): return a * b", "assert sum(2, 3) == 6"
    assert judged(program, test, names=["sum"]) == Verdict(passed=True)
    assert not judged(program, test).passed


@needs_sandbox
def test_installed_packages_can_be_imported_on_both_sides() -> None:
    program = "import numpy as np\ndef f(x): return np.linalg.inv(np.eye(300) / x).sum()"
    tests = ["import numpy as np", "assert np.isclose(f(2), 600)"]
    assert judged(program, *tests) == Verdict(passed=True)


@needs_sandbox
def test_no_code_of_packages_runs_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = "import sys; sys.unasked = True"
    (tmp_path / "mine.py").write_text("two = 2")
    (tmp_path / "mine.pth").write_text(trace)
    for name in ("sitecustomize", "usercustomize", "json", "ctypes", "sandbox"):
        (tmp_path / f"{name}.py").write_text(trace)
    monkeypatch.setattr("orchestration.problems.sandbox.run.sysconfig.get_path", lambda name: str(tmp_path))
    program = "import mine, sys\ndef f(x): return mine.two * x, hasattr(sys, 'unasked')"
    tests = ["assert f(2) == (4, False), f(2)", "import mine, sys", "assert not hasattr(sys, 'unasked')"]
    assert judged(program, *tests) == Verdict(passed=True)


@needs_sandbox
def test_python_behind_a_link_knows_its_own_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Links cannot be read inside, and inspect asks of each module where it really is.
    (tmp_path / "python").symlink_to(sys.base_prefix)
    monkeypatch.setattr("sys.base_prefix", str(tmp_path / "python"))
    monkeypatch.setattr("sys.base_exec_prefix", str(tmp_path / "python"))
    program = "import inspect, json, os\ndef f(x): return inspect.getmodule(json.loads).__name__, 'PYTHONHOME' in os.environ"
    assert judged(program, "assert f(2) == ('json', False)") == Verdict(passed=True)


@needs_sandbox
def test_event_loop_runs() -> None:
    program = (
        "import asyncio\n"
        "async def one(x):\n"
        "    await asyncio.sleep(0.01)\n"
        "    return x\n"
        "async def both(x): return sum(await asyncio.gather(one(x), one(x)))\n"
        "def f(x): return asyncio.run(both(x))\n"
    )
    assert judged(program) == Verdict(passed=True)


PLAIN = [
    None, True, 0, -5, 1 << 80, 0.5, -0.0, float("inf"), "text é \ud800", b"\x00\xff", [1, [2]], (1, (2, [3])), {1, 2},
    frozenset({1}), {"a": 1, (1, 2): [3]}, {1: 2, 2.5: True}, Fraction(1, 3), Decimal("0.10"), 1 + 2j,
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_cross_as_they_are(value: Any) -> None:
    crossed = unpacked(json.loads(json.dumps(packed(value, pytest.fail))), pytest.fail)
    assert crossed == value
    assert type(crossed) is type(value)
    assert repr(crossed) == repr(value)


def test_what_is_nested_too_deeply_does_not_cross() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Unpassable):
        packed(value, pytest.fail)
