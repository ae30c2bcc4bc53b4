"""What `flopwise` offers to start and read runs in a few lines, with the command's own settings and checks.

It knows nothing that the command does not. Invariant: the same settings give the same run from here and from
the command.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Never

from actors.engines.folder_files import has_chat_template
from actors.errors import UserError, nearest
from actors.ledger import Entry
from actors.work import Progress
from orchestration.allocation.plan import Plan
from orchestration.doctor.checkup import checkup
from orchestration.doctor.findings import Finding
from orchestration.planning.calibration import (
    CalibrateSettings,
    check_plan,
    check_sweep,
    make_plan,
    write_plan,
)
from orchestration.problems.datasets.files import readable
from orchestration.problems.revising import trained_format
from orchestration.report.write import Report, make_report
from orchestration.runs.evaluation import evaluate as evaluate_prepared
from orchestration.runs.run import Result, Run
from orchestration.runs.status import Standing, Status, read_status, standing
from orchestration.setup.compose import compose
from orchestration.setup.hub_models import NotFetched, fetched
from orchestration.setup.meant import of_hub
from orchestration.setup.model_folders import resolved
from orchestration.setup.prepare import prepare
from orchestration.setup.settings import EvaluateSettings, ReportSettings, flatten
from orchestration.setup.values import word_of

__all__ = [
    "Finding",
    "Plan",
    "Report",
    "ReportSettings",
    "Result",
    "Run",
    "RunStatus",
    "UserError",
    "calibrate",
    "doctor",
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
    what was asked for and what of it is done by now (`totals`), the time left, the command that goes on with it; None where
    it wrote nothing.
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
    dataset: str | Path | None = None,
    count: int | None = None,
    seeds: Sequence[int] | None = None,
    policy: str | Path | None = None,
    verifier: str | Path | Mapping[str, Any] | None = None,
    reviser: str | Path | None = None,
    budget: float | None = None,
    settings: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda _: None,
    **others: Never,
) -> Run:
    """Solve problems by each strategy (one, or several) and return the run; what its folder holds already is not done again.

    Each problem is solved once for each of `seeds` ([0] by default), which all draws derive from.
    `dataset` is a data set's name in the config (countdown, arithmetic, ...) or a file (.csv, .jsonl, .json,
    .parquet); `policy`, `verifier` and `reviser` are an option's name (countdown, none) or a model's folder; `budget` is in
    FLOPs.
    A policy's folder takes the settings of policy=chat where its tokenizer has a chat template, and of policy=base where not;
    `settings=["policy=base"]` chooses plain text. So does `reviser`, a model's folder, take those of reviser=folder where it
    was trained to revise, or has no chat template, and of reviser=chat where not.
    A strategy or verifier of your own may be a mapping, `{"_target_": "my_package.module.Class", "n": 4}`.
    `settings` are all other settings, `key=value` words as the command takes them: `["policy.max_tokens=64"]`.
    `on_progress` is called in this thread, about four times a second while the run is under way, with how it stands; a run
    with nothing left to do calls it never. What it raises ends the run: what had ended is kept, and the same call goes on.
    Raises UserError for whatever the command would refuse, and for a value of another type.
    """
    _refuse(evaluate, others, flatten(asdict(EvaluateSettings())), "settings=[{word!r}]")
    models = _words(folder, dataset, count, policy, verifier, reviser)
    words = [f"strategies={_strategies(strategies)}", *models]
    words += [f"seeds=[{','.join(map(str, _list('seeds', seeds, 'numbers')))}]"] if seeds is not None else []
    words += [f"budget.flops={budget}"] if budget is not None else []
    _check_heard(on_progress)
    prepared = prepare(settings_of([*words, *_texts("settings", settings)]))
    return evaluate_prepared(prepared, on_progress=on_progress)


def calibrate(
    strategies: str | Sequence[str | Mapping[str, Any]] | None = None,
    *,
    folder: str | Path,
    dataset: str | Path | None = None,
    count: int | None = None,
    policy: str | Path | None = None,
    verifier: str | Path | Mapping[str, Any] | None = None,
    reviser: str | Path | None = None,
    settings: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda _: None,
    **others: Never,
) -> Plan:
    """Solve problems of the validation split by each strategy, fit a plan to what came, write it to plan.yaml in the folder,
    and return it; what the folder holds already is not done again.

    Arguments are those of `evaluate`; `settings` are all others, as `flopwise calibrate` takes them: `["plan.cells=4"]`.
    Raises UserError for whatever the command would refuse.
    """
    _refuse(calibrate, others, flatten(asdict(CalibrateSettings())), "settings=[{word!r}]")
    words = _words(folder, dataset, count, policy, verifier, reviser)
    words += [f"strategies={_strategies(strategies)}"] if strategies is not None else []
    _check_heard(on_progress)
    given = compose("calibrate", [*words, *_texts("settings", settings)], CalibrateSettings)
    check_plan(given.plan)
    prepared = prepare(given.sweep)
    check_sweep(prepared, given.plan.difficulty)
    run = evaluate_prepared(prepared, on_progress=on_progress)
    plan = make_plan(run, given.plan)
    write_plan(plan, given.path(run.folder))
    return plan


def doctor(
    strategies: str | Sequence[str | Mapping[str, Any]] | None = None,
    *,
    folder: str | Path = "runs/evaluate",
    dataset: str | Path | None = None,
    count: int | None = None,
    policy: str | Path | None = None,
    verifier: str | Path | Mapping[str, Any] | None = None,
    reviser: str | Path | None = None,
    settings: Sequence[str] = (),
    **others: Never,
) -> tuple[Finding, ...]:
    """Look whether a set-up is sound, and return what each check found, in order; models are loaded for a moment, and nothing
    is written.

    Arguments are those of `evaluate`. What a run would refuse is a finding with the mark "wrong"; UserError is raised for
    words that are no settings.
    """
    _refuse(doctor, others, flatten(asdict(EvaluateSettings())), "settings=[{word!r}]")
    words = _words(folder, dataset, count, policy, verifier, reviser)
    words += [f"strategies={_strategies(strategies)}"] if strategies is not None else []
    return tuple(checkup(settings_of([*words, *_texts("settings", settings)])))


def _words(
    folder: object,
    dataset: str | Path | None,
    count: int | None,
    policy: str | Path | None,
    verifier: str | Path | Mapping[str, Any] | None,
    reviser: str | Path | None,
) -> list[str]:
    """What a run's arguments are on the command line."""
    words = [f"folder={_path('folder', folder)}"]
    if dataset is not None:
        words += _dataset(dataset)
    words += [f"dataset.count={count}"] if count is not None else []
    words += _model("policy", policy, _prompting(policy))
    words += _model("reviser", reviser, _revising(reviser))
    if isinstance(verifier, Mapping):
        return [*words, f"verifier={_mapping('verifier', verifier)}"]
    return words + _model("verifier", verifier, "folder")


def _check_heard(on_progress: object) -> None:
    if not callable(on_progress):
        raise UserError.of("on_progress", on_progress, "give a function that takes a Progress")


def _refuse(
    function: Callable[..., object], others: Mapping[str, object], settings: Mapping[str, Any], form: str
) -> None:
    """Raise UserError for the first of these arguments, which a function does not take: with the setting that is meant, in
    the `form` in which it is given."""
    for name, value in others.items():
        keys = [key for key in settings if key.split(".")[-1] == name]
        if ways := [form.format(key=key, value=value, word=word_of(key, value)) for key in keys]:
            raise UserError.of(name, value, f"it is a setting: give {' or '.join(ways)}")
        known = [one for one in inspect.signature(function).parameters if one != "others"]
        mend = (
            f"{function.__name__} takes no such argument{nearest(name, known)}; it takes {', '.join(known)}"
        )
        raise UserError.of(name, value, mend)


def settings_of(words: Sequence[str] = ()) -> EvaluateSettings:
    """The settings that `flopwise evaluate` has with these `key=value` words."""
    return compose("evaluate", _texts("words", words), EvaluateSettings)


def report(
    run: Run | str | Path,
    settings: ReportSettings | None = None,
    out: str | Path | None = None,
    **others: Never,
) -> Report:
    """Measure a run, write its report into its folder, or into `out`, and return it. Raises UserError where it may not be
    written, and for what the run does not have."""
    _refuse(report, others, asdict(ReportSettings()), "settings=ReportSettings({key}={value!r})")
    return make_report(_run(run), settings or ReportSettings(), None if out is None else resolved(str(out)))


def load(folder: str | Path) -> Run:
    """The run of a folder, finished or not. Raises UserError where there is none."""
    return _run(folder)


def status(run: Run | str | Path) -> RunStatus:
    """How a run stands now; asking does not disturb it. Raises UserError where there is none."""
    found = _run(run)
    last_word = read_status(found.folder)
    # Before the tables: a run that had finished by then has all of them.
    state = standing(found.folder, last_word, time.time())
    if last_word is not None and last_word.reading is not None:
        # The driver's are those at its start, which its readings are counted on.
        made = last_word.reading.progress.outcomes
        last_word = replace(last_word, totals=last_word.totals.after(made))
    reason = last_word.reason if last_word is not None and state == "failed" else ""
    return RunStatus(state, reason, found.states(), found.books(), last_word)


def _run(given: Run | str | Path) -> Run:
    if isinstance(given, Run):
        return given
    if not isinstance(given, str | Path):
        raise UserError.of("run", given, "give a run, or its folder as a text or a Path")
    return Run(given)


def _list(name: str, given: object, things: str) -> list[Any]:
    """What is a list of things, or like one; a text is none."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise UserError.of(name, given, f"give a list of {things}")
    return list(given)


def _texts(name: str, given: object) -> list[str]:
    found = _list(name, given, "key=value texts")
    for one in found:
        if not isinstance(one, str):
            raise UserError.of(name, one, "each must be a text, as in 'seeds=[0,1]'")
    return found


def _quoted(text: str) -> str:
    """A text so that it is read as it is, whatever quotes, backslashes and commas it has."""
    return json.dumps(text, ensure_ascii=False)


def _path(name: str, given: object) -> str:
    if not isinstance(given, str | Path):
        raise UserError.of(name, given, "give a text or a Path")
    return _quoted(str(given))


def _mapping(name: str, given: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(given), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        mend = f"it takes texts, numbers, true, false, null, lists and mappings of such ({error})"
        raise UserError.of(name, dict(given), mend) from None


def _strategies(given: object) -> str:
    if isinstance(given, str):
        return given
    texts = []
    for one in _list("strategies", given, "strategies' texts or mappings, or one text"):
        if not isinstance(one, str | Mapping):
            raise UserError.of("strategies", one, "each must be a text, as in 'majority(n=4)', or a mapping")
        texts.append(_quoted(one) if isinstance(one, str) else _mapping("strategies", one))
    return f"[{','.join(texts)}]"


def _dataset(given: object) -> list[str]:
    """Words that choose a data set: a name in the config as it is, a file as the path of a table."""
    if not isinstance(given, str | Path):
        raise UserError.of("dataset", given, "give the name of a data set, or a file as a text or a Path")
    if isinstance(given, Path) or "/" in given or readable(Path(given)):
        return ["dataset=table", f"dataset.path={_quoted(str(given))}"]
    return [f"dataset={given}"]


def _prompting(policy: object) -> str:
    """The option whose prompts a policy's folder is made for."""
    if not isinstance(policy, str | Path):
        return ""
    folder = _folder(policy)
    # A folder that is not there is refused by name later.
    return "chat" if folder.is_dir() and has_chat_template(folder, "policy.path") else "base"


def _folder(given: str | Path) -> Path:
    """Where a model lies that is named by its folder, or as on the hub."""
    if of_hub(str(given)):
        with suppress(NotFetched):
            return fetched(str(given))
    return Path(given).expanduser()


def _revising(reviser: object) -> str:
    """The option by which a reviser's folder is shown its attempts."""
    if not isinstance(reviser, str | Path):
        return ""
    folder = _folder(reviser)
    if not folder.is_dir() or trained_format(folder) is not None:
        return "folder"
    return "chat" if has_chat_template(folder, "reviser.path") else "folder"


def _model(group: str, value: str | Path | None, option: str) -> list[str]:
    """Words that choose a model: an option's name as it is, a path as the path of `option`."""
    if value is None:
        return []
    if not isinstance(value, str | Path):
        raise UserError.of(group, value, "give an option's name, or a model's folder as a text or a Path")
    if isinstance(value, str) and "/" not in value and not Path(value).is_dir():
        return [f"{group}={value}"]
    # A later word wins, so an option of the user's own choice may follow.
    return [f"{group}={option}", f"{group}.path={_quoted(str(value))}"]
