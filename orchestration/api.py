"""What `flopwise` offers to start and read runs in a few lines, with the command's own settings and checks.

It knows nothing that the command does not. Invariant: the same settings give the same run from here and from
the command.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.errors import UserError
from actors.ledger import Entry
from actors.work import Progress
from orchestration.report.write import Report, make_report
from orchestration.runs.evaluation import evaluate as evaluate_prepared
from orchestration.runs.run import Result, Run
from orchestration.runs.status import Standing, Status, read_status, standing
from orchestration.setup.compose import compose
from orchestration.setup.model_folders import has_chat_template
from orchestration.setup.prepare import prepare
from orchestration.setup.settings import EvaluateSettings, ReportSettings

__all__ = [
    "Report",
    "ReportSettings",
    "Result",
    "Run",
    "RunStatus",
    "UserError",
    "evaluate",
    "load",
    "report",
    "settings_of",
    "status",
]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stood when it was asked, by its folder.

    `state` is one of running, finished, stopped, failed, killed, and silent: it said more than a minute ago that it runs, and
    nothing since. `reason` is one line, of a failed run. `outcomes` counts those in its folder by how they ended. `books` are
    the FLOPs settled so far, in the budget's accounting, by purpose and kind. `last_word` is what its driver wrote last:
    what was asked for, the time left, the command that goes on with it; None where it wrote nothing.
    """

    state: Standing
    reason: str
    outcomes: Mapping[str, int]
    books: tuple[Entry, ...]
    last_word: Status | None


def evaluate(
    strategies: str | Sequence[str | Mapping[str, Any]],
    *,
    folder: str | Path,
    dataset: str | None = None,
    count: int | None = None,
    seeds: Sequence[int] | None = None,
    policy: str | Path | None = None,
    verifier: str | Path | Mapping[str, Any] | None = None,
    budget: float | None = None,
    settings: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Run:
    """Solve problems by each strategy (one, or several) and return the run; what its folder holds already is not done again.

    Each problem is solved once for each of `seeds` ([0] by default), which all draws derive from.
    `dataset` is a data set's name in the config (arithmetic, gsm_symbolic, ...) or a .jsonl or .parquet file;
    `policy` and `verifier` are an option's name (bundled, none) or a model's folder; `budget` is in FLOPs. A policy's folder
    the settings of policy=chat where its tokenizer has a chat template, and of policy=base where not;
    `settings=["policy=base"]` chooses plain text.
    A strategy or verifier of your own may be a mapping, `{"_target_": "my_package.module.Class", "n": 4}`.
    `settings` are further `key=value` words as the command takes them. Raises UserError for whatever the
    command would refuse.
    """
    given = [strategies] if isinstance(strategies, str) else strategies
    texts = [one if isinstance(one, str) else json.dumps(dict(one)) for one in given]
    words = [f"strategies=[{','.join(texts)}]", f"folder={folder}"]
    if dataset is not None:
        words += ["dataset=table", f"dataset.path={dataset}"] if _is_file(dataset) else [f"dataset={dataset}"]
    words += [f"dataset.count={count}"] if count is not None else []
    words += [f"seeds=[{','.join(map(str, seeds))}]"] if seeds is not None else []
    words += _model("policy", policy, _prompting(policy))
    if isinstance(verifier, Mapping):
        words += [f"verifier={json.dumps(dict(verifier))}"]
    else:
        words += _model("verifier", verifier, "folder")
    words += [f"budget.flops={budget}"] if budget is not None else []
    prepared = prepare(settings_of([*words, *settings]))
    return evaluate_prepared(prepared, on_progress=on_progress)


def settings_of(words: Sequence[str] = ()) -> EvaluateSettings:
    """The settings that `flopwise evaluate` has with these `key=value` words."""
    return compose("evaluate", words, EvaluateSettings)


def report(run: Run | str | Path, settings: ReportSettings | None = None) -> Report:
    """Measure a run, write its report into its folder, and return it."""
    return make_report(run if isinstance(run, Run) else Run(run), settings or ReportSettings())


def load(folder: str | Path) -> Run:
    """The run of a folder, finished or not. Raises UserError where there is none."""
    return Run(folder)


def status(run: Run | str | Path) -> RunStatus:
    """How a run stands now; asking does not disturb it. Raises UserError where there is none."""
    found = run if isinstance(run, Run) else Run(run)
    last_word = read_status(found.folder)
    # Before the tables: a run that had finished by then has all of them.
    state = standing(found.folder, last_word, time.time())
    reason = last_word.reason if last_word is not None and state == "failed" else ""
    return RunStatus(state, reason, found.states(), found.books(), last_word)


def _is_file(dataset: str) -> bool:
    return dataset.endswith((".jsonl", ".parquet"))


def _prompting(policy: str | Path | None) -> str:
    """The option whose prompts a policy's folder is made for."""
    if policy is None:
        return ""
    folder = Path(policy).expanduser()
    # A folder that is not there is refused by name later.
    return "chat" if folder.is_dir() and has_chat_template(folder, "policy.path") else "base"


def _model(group: str, value: str | Path | None, option: str) -> list[str]:
    """Words that choose a model: an option's name as it is, a path as the path of `option`."""
    if value is None:
        return []
    if isinstance(value, str) and "/" not in value and not Path(value).is_dir():
        return [f"{group}={value}"]
    # A later word wins, so an option of the user's own choice may follow.
    return [f"{group}={option}", f"{group}.path={value}"]
