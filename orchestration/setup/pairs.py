"""Pairs: one file that says how a policy is asked, which verifier judges it, and which strategies are for it.

It knows no model and no setting. A ready pair is a file in conf/pair, any other a file of the user's own; either has the
words of the command line, a line each. Invariant: what a user says on the command line stands above what a pair says, and a
pair takes nothing from a domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from actors.errors import UserError, nearest
from orchestration.setup.model_folders import resolved
from orchestration.setup.values import Yaml

_CONF = Path(__file__).resolve().parents[2] / "conf"
_FOLDER = _CONF / "pair"

WORD = "pair"


def pairs() -> list[str]:
    """Those that are ready, by name."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def has_pairs(root: str) -> bool:
    """Whether a command may be told one: it chooses a policy among options."""
    defaults = yaml.safe_load((_CONF / f"{root}.yaml").read_text()).get("defaults", ())
    return any(isinstance(one, dict) and "policy" in one for one in defaults)


def pair_of(root: str, words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The pair that `key=value` words choose for a command, None where they choose none, and the other words."""
    if not has_pairs(root):
        return None, list(words)
    named = [word.partition("=")[2].strip() for word in words if _key(word) == WORD]
    return (named[-1] if named else None), [word for word in words if _key(word) != WORD]


def settings_of_pair(given: str) -> dict[str, Any]:
    """The settings of a pair, by key: one that is named as its own `pair`, whose settings its own stand above, and its own.
    Raises UserError where there is no such pair, or its file has none."""
    file = _FOLDER / f"{given}.yaml" if given in pairs() else resolved(given)
    if not file.is_file():
        mend = f"choose one of {', '.join(pairs())}, or give a yaml file of yours{nearest(given, pairs())}"
        if "/" in given or file.suffix in (".yaml", ".yml"):
            there = [str(one.name) for one in file.parent.glob("*.y*ml")]
            mend = f"there is no such file{nearest(file.name, there)}: {mend}"
        raise UserError.of(WORD, given, mend)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Yaml)
    except (yaml.YAMLError, ValueError, OSError) as error:
        why = " ".join(str(error).split())
        raise UserError.of(WORD, given, f"the file cannot be read as YAML ({why})") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        mend = "it is a yaml file of settings, a line each, as in policy.path: /models/mine"
        raise UserError.of(WORD, given, mend)
    base = content.pop(WORD, None)
    if base is None:
        return content
    if base not in pairs():
        mend = f"the pair that it goes on from, {base!r}, is none of {', '.join(pairs())}"
        raise UserError.of(WORD, given, mend)
    return above(settings_of_pair(base), content)


def above(settings: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Settings with `others` above them: an option that is chosen anew leaves nothing of what was set for the old one."""
    anew = [key for key in others if key in settings and others[key] != settings[key]]
    return {key: value for key, value in settings.items() if key.split(".")[0] not in anew} | others


def _key(word: str) -> str:
    return word.partition("=")[0].strip()
