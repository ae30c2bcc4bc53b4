"""The help of a command, made from the comments in its config files, so that help and defaults cannot part
ways.

It knows nothing of settings' types. Invariant: every key that a config file has is shown with its meaning and
default.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from orchestration.setup.compose import CONF, chosen_options, groups, options, said_by
from orchestration.setup.domains import DOMAIN, defaults_of, domain_of, domains, has_domains
from orchestration.setup.pairs import has_pairs, pair_of, pairs

_LINE = re.compile(r"^( *)(\w+):(?: (.*?))??(?:  # (.*))?$")
_WIDTH = 110
_MISSING = "???"


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting as its config file documents it."""

    key: str
    default: str
    meaning: str


def help_of(root: str, words: Sequence[str] = (), about: str | None = None) -> str:
    """Return the whole help: what the command does, examples, then every setting by group, with the defaults of the options
    that `words` choose (`policy=chat`, `domain=countdown`, `pair=qwen3`). A command that is told `about` in a file of its own
    has the settings of another. Raises UserError for an option that there is not."""
    pair, words = pair_of(root, words)
    said = {} if pair is None else said_by(pair, root, words)
    domain, words = domain_of(root, words) if pair is None else (None, words)
    chosen = chosen_options(root, words)
    options_too = ", those of the options chosen (add e.g. policy=chat)" if groups(root) else ""
    settings = f"Settings, with their defaults{options_too}:"
    lines = [_header(CONF / f"{about or root}.yaml"), "", settings]
    own = _with(entries(CONF / f"{root}.yaml"), {} if pair else defaults_of(domain, root))
    own = _with(own, said)
    lines += _table(own)
    if has_domains(root):
        lines += ["", f"domain, {_about(domain or 'none', DOMAIN)}:"]
        lines += [f"  domain={name:36} {_header(CONF / 'domain' / f'{name}.yaml')}" for name in domains()]
    if has_pairs(root):
        lines += ["", f"pair, {pair or 'none'} (by default none):"]
        lines += [f"  pair={name:38} {_header(CONF / 'pair' / f'{name}.yaml')}" for name in pairs()]
    usual = groups(root)
    for group, option in groups(root, domain).items():
        default = chosen.get(group, said.get(group, option))
        about = "to be given" if default == _MISSING else _about(default, usual[group])
        default = usual[group] if default == _MISSING else default
        lines += ["", f"{group}, {about}:"]
        lines += [f"  {group}={name:36} {_header(CONF / group / f'{name}.yaml')}" for name in options(group)]
        # What the command itself says of a group's setting stands above.
        above = {entry.key for entry in own}
        rows = [entry for entry in group_entries(group, default) if entry.key not in above]
        lines += _table(_with(rows, said))
    return "\n".join(lines)


def _about(here: str, usual: str) -> str:
    return f"by default {usual}" if here == usual else f"here {here} (by default {usual})"


def _with(found: list[Entry], values: Mapping[str, Any]) -> list[Entry]:
    """The settings with the defaults that a domain or a pair gives them."""
    return [replace(one, default=_shown(values[one.key])) if one.key in values else one for one in found]


def _shown(value: object) -> str:
    """A value as a config file writes it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def group_entries(group: str, default: str) -> list[Entry]:
    """The settings of a group's option, then those that only other options have, which are named."""
    known = {entry.key: entry for entry in entries(CONF / group / f"{default}.yaml", f"{group}.")}
    for option in options(group):
        for entry in entries(CONF / group / f"{option}.yaml", f"{group}."):
            if entry.key not in known:
                meaning = f"(with {group}={option}) {entry.meaning}"
                known[entry.key] = Entry(entry.key, entry.default, meaning)
    return list(known.values())


def entries(path: Path, prefix: str = "") -> list[Entry]:
    """Read the settings of one config file: dotted key, default as written, and the comment beside it."""
    found: list[Entry] = []
    parents: list[tuple[int, str]] = []
    items: list[str] = []
    for line in path.read_text().splitlines():
        if line.strip().startswith("- "):
            items.append(line.strip()[2:])
            continue
        match = _LINE.match(line)
        if match is None or line.startswith("#") or (match[2].startswith("_") and match[4] is None):
            continue
        _close(found, items)
        indent, name, value, meaning = len(match[1]), match[2], match[3], match[4]
        parents = [parent for parent in parents if parent[0] < indent]
        key = prefix + ".".join([*(name for _, name in parents), name])
        if not value and meaning is None:
            parents.append((indent, name))
            continue
        found.append(Entry(key, value or "", meaning or ""))
    _close(found, items)
    return [entry for entry in found if not entry.key.startswith("defaults")]


def _close(found: list[Entry], items: list[str]) -> None:
    """Give the list items read so far to the entry that they belong to."""
    if items and found and not found[-1].default:
        found[-1] = Entry(found[-1].key, f"[{','.join(items)}]", found[-1].meaning)
    items.clear()


def _header(path: Path) -> str:
    """The comment that a config file begins with."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[2:] if line.startswith("# ") else line[1:])
    return "\n".join(lines)


def _table(rows: list[Entry]) -> list[str]:
    lines = []
    for entry in rows:
        left = f"  {entry.key}={entry.default}"
        meaning = textwrap.wrap(entry.meaning, _WIDTH - 46)
        if len(left) > 44:
            lines.append(left)
            left = ""
        lines += [f"{left if place == 0 else '':46}{part}" for place, part in enumerate(meaning)]
    return lines
