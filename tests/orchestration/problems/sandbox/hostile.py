"""How a hostile program is run in these tests."""

from __future__ import annotations

from pathlib import Path

from orchestration.problems.sandbox.run import Limits, Verdict, run

FOLDER = Path(__file__).resolve().parents[4] / "orchestration" / "problems"

TRY = """
def tried(act, *arguments):
    try:
        return f"{act.__name__} worked: {act(*arguments)!r}"
    except BaseException as error:
        return type(error).__name__
"""


def judged(program: str, *tests: str, seconds: int = 2) -> Verdict:
    return run({"program": [TRY, program], "tests": list(tests)}, Limits(processor_seconds=seconds))
