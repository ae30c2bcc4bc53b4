"""The `flopwise` command: finds the sub-command, and turns a user's mistakes into one line.

It imports nothing heavy, so that help comes at once. Invariant: a mistake of the user's ends with exit code 2
and one line, Ctrl-C with 130; whatever else goes wrong keeps its traceback.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from actors.errors import UserError, nearest
from orchestration.commands.arguments import complain, shell

HELP = """flopwise runs test-time search for language models: many strategies on the same problems, under one FLOPs
budget, with every FLOP on one ledger.

Commands:
  flopwise evaluate               solve problems with several strategies and compare them
  flopwise doctor                 whether models, data and machine fit, before hours are spent
  flopwise report RUN             make tables and figures of a run again
  flopwise grade FILE             read and judge answers without a model
  flopwise show RUN [PROBLEM]     read a run's problems, candidates, steps and scores
  flopwise status RUN             how a run stands, where its FLOPs went, what it waits for
  flopwise calibrate [RUN]        make a plan: how much a prompt should get, and spent how
  flopwise explain PLAN           read a plan; RUN PROBLEM: what was decided for a problem
  flopwise whatif RUN             what another budget would buy, from stored samples
  flopwise compare-allocators RUN  all allocators at the same budgets, from stored samples
  flopwise difficulty RUN         how difficult problems are, and how well that is predicted
  flopwise train policy FOLDER    train a small policy from nothing
  flopwise train prm FOLDER       train a process reward model on runs
  flopwise train reviser FOLDER   train a model that improves its own answers
  flopwise train orm FOLDER       train a verifier of its answers

Examples:
  flopwise evaluate               the bundled models on 200 test problems
  flopwise evaluate --dry-run     what that would take
  flopwise evaluate --help        every setting, with examples

Every command has --help, and flopwise has --version. Settings are given as key=value."""

COMMANDS = (
    "evaluate",
    "doctor",
    "report",
    "grade",
    "show",
    "status",
    "calibrate",
    "explain",
    "whatif",
    "compare-allocators",
    "difficulty",
    "train",
)

STOPPED = 130
"""The exit code after Ctrl-C."""

GOES_ON = ("evaluate", "calibrate", "train")
"""Commands that go on where they were stopped."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command that `words` (by default the command line's) name; return the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    for stream in (sys.stdout, sys.stderr):
        # A letter that a terminal of another encoding has not is written out, and ends nothing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(given)
        sys.stdout.flush()
    except UserError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        print(
            "\nstopped; whatever had ended by then is kept" if given[0] in GOES_ON else "\nstopped",
            file=sys.stderr,
        )
        if given[0] in GOES_ON:
            print(f"go on with: {shell(given)}", file=sys.stderr)
        code = STOPPED
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`.
        sys.stderr.close()
        return 0
    if code == STOPPED and words is None:
        _leave()
    return code


def _leave() -> NoReturn:
    """End this process at once: an interpreter that winds up while a thread of a start that was stopped still loads may
    crash, with an exit code of its own."""
    with suppress(BaseException):
        if (ray := sys.modules.get("ray")) is not None:
            ray.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(STOPPED)


def _run(given: list[str]) -> int:
    if not given or given[0] in ("--help", "-h", "help"):
        print(HELP)
        return 0
    if given[0] in ("--version", "version"):
        from importlib.metadata import version

        print(f"flopwise {version('flopwise')}")
        return 0
    if given[0] not in COMMANDS:
        raise UserError(
            f"unknown command {given[0]!r}{nearest(given[0], COMMANDS)}; there are {', '.join(COMMANDS)}"
        )
    code: int = importlib.import_module(f"orchestration.commands.{given[0].replace('-', '_')}").run(given[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
