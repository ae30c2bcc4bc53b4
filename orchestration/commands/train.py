"""`flopwise train policy FOLDER`, `prm`, `reviser` and `orm`: thin drivers of `orchestration.training`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.errors import UserError, nearest
from orchestration.commands.arguments import options_of
from orchestration.commands.helptext import help_of
from orchestration.setup.compose import compose

MODELS = ("policy", "prm", "reviser", "orm")
_ANY = f"{', '.join(MODELS[:-1])} or {MODELS[-1]}"

HELP = """flopwise train MODEL FOLDER: make a model and write it to a folder.

  flopwise train policy FOLDER    a small policy, from nothing, on generated problems
  flopwise train prm FOLDER       a process reward model for a policy, from samples that it draws of it
  flopwise train reviser FOLDER   a model that improves its own answers, from a policy and samples that it draws of it
  flopwise train orm FOLDER       a verifier of a reviser's answers, from runs in which it drew chains

Examples:
  flopwise train prm --help       every setting of one of them
  flopwise train policy runs/policy"""


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, rest = options_of(words, ("--help",))
    places = [word for word in rest if "=" not in word]
    if "--help" in options and not places:
        print(HELP)
        return 0
    if not places:
        raise UserError(
            f"name a model, {_ANY}, and a folder for it, as in: flopwise train policy runs/policy"
        )
    if places[0] not in MODELS:
        raise UserError(f"train takes {_ANY}, not {places[0]!r}{nearest(places[0], MODELS)}")
    if "--help" in options:
        print(help_of(f"train/{places[0]}", [word for word in rest if "=" in word]))
        return 0
    if len(places) != 2:
        raise UserError(f"name one folder for the model, as in: flopwise train {places[0]} runs/{places[0]}")
    settings = [word for word in rest if "=" in word]
    train = {"policy": _policy, "prm": _prm, "reviser": _reviser, "orm": _orm}[places[0]]
    result = train(Path(os.path.expanduser(places[1])), settings)
    # Longer things (settings, calibration) stand in the model's training.json.
    for name, value in result.items():
        if value is None:
            print(f"{name:36} -")
        elif isinstance(value, int | float | str):
            print(f"{name:36} {value:.4g}" if isinstance(value, float) else f"{name:36} {value}")
    print(f"{'model':36} {places[1]}")
    return 0


def _policy(folder: Path, words: Sequence[str]) -> dict[str, Any]:
    from orchestration.training.policy import PolicyTraining, train_policy

    return dict(train_policy(compose("train/policy", words, PolicyTraining), folder))


def _prm(folder: Path, words: Sequence[str]) -> dict[str, Any]:
    from rich.console import Console

    from orchestration.commands.live import Lines
    from orchestration.training.job import PrmJob, make_prm

    job = compose("train/prm", words, PrmJob)
    with Lines(Console()) as lines:
        return dict(make_prm(job, folder, lines.update, lines.say))


def _reviser(folder: Path, words: Sequence[str]) -> dict[str, Any]:
    from rich.console import Console

    from orchestration.commands.live import Lines
    from orchestration.training.reviser_job import ReviserJob, make_reviser

    job = compose("train/reviser", words, ReviserJob)
    for word in words if job.chains else ():
        # What a domain says of samples does no harm beside chains.
        name, _, value = word.partition("=")
        if name in ("parts", "keep", "nearest", "times"):
            raise UserError.of(name, value, "with chains nothing is drawn: leave out one of the two")
    with Lines(Console()) as lines:
        return dict(make_reviser(job, folder, lines.update, lines.say))


def _orm(folder: Path, words: Sequence[str]) -> dict[str, Any]:
    from rich.console import Console

    from orchestration.commands.live import Lines
    from orchestration.training.orm_job import OrmJob, make_orm

    job = compose("train/orm", words, OrmJob)
    with Lines(Console()) as lines:
        return dict(make_orm(job, folder, lines.say))
