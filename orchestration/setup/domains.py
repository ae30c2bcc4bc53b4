"""Domains: one word that chooses a data set, the policy that was trained on it, and its verifier.

It knows nothing of data sets, and of models where those lie that come with a domain. A domain is a file in conf/domain: for
each command the options of its groups, and values of its keys. Invariant: what a user says stands above what a domain says,
and a training that names its own policy or data set takes nothing from a domain that nobody named.
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from actors.errors import UserError, nearest
from actors.strategy import Role

_FOLDER = Path(__file__).resolve().parents[2] / "conf" / "domain"

MODELS = Path(__file__).resolve().parents[2] / "models"

BUNDLED = "bundled"
"""Before the name of a domain: the model that comes with it, as in bundled/countdown."""

ORM = "orm"
"""Behind the name of a domain: its verifier of revisions, as in bundled/countdown/orm."""

DOMAIN = "countdown"
"""The one that is meant where none is named."""

DOMAIN_WORD = "domain"
_OWN = ("policy", "dataset", "reviser")
"""Keys of a training without which the rest of a recipe makes no sense."""


def domains() -> list[str]:
    """All of them by name."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def has_domains(root: str) -> bool:
    """Whether a command may be told one."""
    return _same(root) in _file(DOMAIN)


def domain_of(root: str, words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The domain that `key=value` words choose for a command, None where none counts, and the other words. Raises UserError
    for one that there is not."""
    if not has_domains(root):
        return None, list(words)
    named = [word.partition("=")[2].strip() for word in words if _key(word) == DOMAIN_WORD]
    rest = [word for word in words if _key(word) != DOMAIN_WORD]
    if named:
        if named[-1] not in domains():
            mend = f"choose one of {', '.join(domains())}{nearest(named[-1], domains())}"
            raise UserError.of(DOMAIN_WORD, named[-1], mend)
        return named[-1], rest
    own = root.startswith("train/") and any(_key(word) in _OWN for word in words)
    return (None if own else DOMAIN), rest


def defaults_of(domain: str | None, root: str) -> dict[str, Any]:
    """What a domain says of a command's groups and keys."""
    found = {} if domain is None else copy.deepcopy(dict(_file(domain).get(_same(root), {})))
    # What a plan is learnt from goes by none.
    return {key: value for key, value in found.items() if root != "calibrate" or key != "plan"}


def _same(root: str) -> str:
    """The command whose domains a command has: a sweep is an evaluation."""
    return "evaluate" if root == "calibrate" else root


def check_domain(dataset: str | None, models: Mapping[Role, str | None]) -> None:
    """Raise UserError where a model that comes with one domain is to answer the problems of another, or to judge a policy of
    another: `models` has the path of each role's. Accuracy would be near 0, and say nothing."""
    asked = next((one for one in domains() if _dataset(one) == dataset), None)
    come_with = {role: domain_of_model(role, path) for role, path in models.items()}
    for role, path in models.items():
        if asked is not None and come_with[role] not in (None, asked):
            mend = f"this model has never seen problems of {dataset}: domain={asked} chooses those that have"
            raise UserError.of(f"{role}.path", path, mend)
    policy, verifier = come_with.get("policy"), come_with.get("verifier")
    if policy is not None and verifier is not None and policy != verifier:
        mend = (
            f"it knows the policy of the domain {verifier}, and policy.path is that of {policy}: domain={policy} chooses "
            f"both, verifier={policy} the one of this policy, verifier=none none"
        )
        raise UserError.of("verifier.path", models["verifier"], mend)


def folder_of(domain: str, kind: str) -> Path:
    """Where the model of this role lies that comes with a domain; of "countdown/orm" its verifier of revisions."""
    domain, _, which = domain.partition("/")
    return MODELS / domain / (which or ("prm" if kind == "verifier" else kind))


def bundled(kind: str) -> list[str]:
    """The models of a role that come with flopwise, by name: a policy and a verifier with every domain, and what there is of
    revisers and their verifiers."""
    always = domains() if kind in ("policy", "verifier") else []
    maybe = domains() if kind == "reviser" else [f"{one}/{ORM}" for one in domains() if kind == "verifier"]
    return [f"{BUNDLED}/{one}" for one in (*always, *(one for one in maybe if folder_of(one, kind).is_dir()))]


def plan_of(domain: str) -> Path:
    """Where the plan lies that comes with a domain, if one does."""
    return MODELS / domain / "plan.yaml"


def domain_of_model(role: Role, path: str | None) -> str | None:
    """The domain that a model comes with, by its name or wherever its path leads to it; None: another model."""
    if path is None:
        return None
    names = {name: name.split("/")[1] for name in bundled(role)}
    if path.partition("/")[0] == BUNDLED:
        return names.get(path)
    place = Path(os.path.expanduser(path)).resolve()
    folders = {folder_of(name.partition("/")[2], role).resolve(): domain for name, domain in names.items()}
    return folders.get(place)


def _dataset(domain: str) -> str:
    """The generator that a domain's problems come from."""
    return str(_file(domain)["train/prm"]["dataset"])


def _key(word: str) -> str:
    return word.partition("=")[0].strip()


@functools.cache
def _file(domain: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((_FOLDER / f"{domain}.yaml").read_text())
    return content
