"""From `key=value` words to typed settings: Hydra composes the defaults of the chosen groups, the words are
laid over.

It knows nothing of what the settings are for. Invariant: whatever a user mistypes (a key, a group's option, a
value) is answered by one line that names it and the nearest thing that exists, never by a traceback.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from actors.errors import UserError, nearest
from orchestration.setup.build import build, choices_of
from orchestration.setup.domains import DOMAIN, DOMAIN_WORD, defaults_of, domain_of, has_domains
from orchestration.setup.meant import check_mapping, words_meant
from orchestration.setup.pairs import WORD, above, pair_of, settings_of_pair
from orchestration.setup.settings import EvaluateSettings, flatten
from orchestration.setup.values import Yaml, check_quoted, list_of_texts, text_of, whole_number

T = TypeVar("T")

CONF = Path(__file__).resolve().parents[2] / "conf"


def groups(root: str, domain: str | None = DOMAIN) -> dict[str, str]:
    """The groups of a root config and the option each has by default in a domain, in the order of its defaults list."""
    ours = defaults_of(domain, root)
    return {group: ours.get(group, option) for group, option in _groups_of(root).items()}


@functools.cache
def _groups_of(root: str) -> dict[str, str]:
    text = yaml.safe_load((CONF / f"{root}.yaml").read_text())
    named = (entry for entry in text.get("defaults", ()) if isinstance(entry, dict))
    return {group: option for entry in named for group, option in entry.items()}


def options(group: str) -> list[str]:
    """The options of a group, by name."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def chosen_options(root: str, words: Sequence[str]) -> dict[str, str]:
    """The options that `key=value` words choose, by group; a mapping is the option `custom`. UserError for one that there is
    not."""
    given = dict(_split(word) for word in words)
    chosen = {group: given[group] for group in given if group in groups(root)}
    for group, text in chosen.items():
        known = options(group)
        if _is_mapping(text):
            if "custom" not in known:
                check_mapping(group, text)
            chosen[group] = "custom"
        if chosen[group] not in known:
            meant = words_meant(group, text)
            mend = f"choose one of {', '.join(known)}{f'; {meant}' if meant else nearest(text, known)}"
            raise UserError.of(group, text, mend)
    return chosen


def compose(root: str, words: Sequence[str], schema: type[T]) -> T:
    """Return `conf/<root>.yaml` with its groups, as the domain or the pair has them, changed by `words` (`key=value` each),
    as an instance of `schema`.

    Raises UserError for a word that is no `key=value`, an unknown key or option, a value of the wrong type,
    and a key that must be given (`???`) and was not.
    """
    pair, words = pair_of(root, words)
    domain, words = domain_of(root, words) if pair is None else (None, _without_domain(pair, words))
    said = {} if pair is None else said_by(pair, root, words)
    changes = dict(_split(word) for word in words)
    known_groups = groups(root, domain)
    chosen = chosen_options(root, words)
    mappings = {group: _mapping(group, changes[group]) for group in chosen if _is_mapping(changes[group])}
    for group in chosen:
        del changes[group]
    picked = known_groups | {group: said[group] for group in known_groups if group in said} | chosen
    lacking = {group for group in picked if pair is not None and picked[group] == "???"}
    # Another option stands in for one that is lacking, so that what is mistyped elsewhere is told first.
    standing = {group: options(group)[0] if group in lacking else option for group, option in picked.items()}
    options_chosen = tuple(f"{group}={option}" for group, option in standing.items())
    data = copy.deepcopy(_defaults(root, options_chosen, bool(known_groups)))
    for key, value in defaults_of(domain, root).items():
        if key not in picked:
            _set(data, key, value)
    own = {group for group in picked if "_target_" in data[group]}
    for group in own:
        data[group]["options"] = {}
        for key, value in mappings.get(group, {}).items():
            _set(data, _inside(data, f"{group}.{key}", own), value)
    for key in (one for one in said if one not in picked and one.split(".")[0] not in lacking):
        try:
            place = _inside(data, key, own)
            _kind(schema, data, place, picked)
        except UserError as error:
            raise UserError.of(WORD, pair, str(error)) from None
        _set(data, place, said[key])
    for key, text in changes.items():
        if key.split(".")[0] in lacking:
            continue
        key = _inside(data, key, own)
        kind = _kind(schema, data, key, picked)
        if _field(schema, key).get("quoted"):
            check_quoted(text, key)
        _set(data, key, _value(key, text, kind))
    for group in sorted(lacking):
        raise UserError(f"{group} must be given: add {group}=..., for the pair {pair} names none")
    if "policy.prompt.system" not in changes:
        _set_system(data)
    if domain is None and has_domains(root):
        for key in (one for one in data if data[one] == "???" and one in defaults_of(DOMAIN, root)):
            raise UserError(f"{key} must be given: add {key}=..., or domain={DOMAIN}, which has one")
    built: T = build(schema, data, "")
    return built


def _without_domain(pair: str, words: Sequence[str]) -> list[str]:
    """The words. Raises UserError where one names a domain beside a pair."""
    named = [word for word in words if word.startswith(f"{DOMAIN_WORD}=")]
    if named:
        mend = f"{named[-1]} has a policy of its own: leave it out, and name the data set alone"
        raise UserError.of(WORD, pair, mend)
    return list(words)


def said_by(pair: str, root: str, words: Sequence[str]) -> dict[str, Any]:
    """The settings of a pair that count in a command, below what the words choose. UserError for an option that there is
    not."""
    own = groups(root, None)
    said = settings_of_pair(pair)
    for group in (one for one in own if one in said):
        known = options(group)
        if said[group] not in known:
            mend = (
                f"{group}: {said[group]}: choose one of {', '.join(known)}{nearest(str(said[group]), known)}"
            )
            if isinstance(said[group], dict):
                name, value = next(iter(said[group].items()), ("path", "..."))
                mend = f"{group}: give each of its settings a line of its own, as in {group}.{name}: {value}"
            raise UserError.of(WORD, pair, mend)
    chosen = above(said, dict(chosen_options(root, words)))
    elsewhere = groups("evaluate", None).keys() - own.keys()
    return {key: value for key, value in chosen.items() if key.split(".")[0] not in elsewhere}


def settings_from(config: Mapping[str, Any]) -> EvaluateSettings:
    """The settings of an evaluation from its resolved config, as a run keeps it. Raises UserError for what is none."""
    built: EvaluateSettings = build(EvaluateSettings, dict(config), "")
    return built


def _split(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key.strip():
        raise UserError(f"{word!r}: settings are given as key=value; --help lists the keys")
    return key.strip(), value


@functools.cache  # Hydra takes a fifth of a second
def _defaults(root: str, chosen: tuple[str, ...], has_groups: bool) -> dict[str, Any]:
    if not has_groups:
        plain = yaml.safe_load((CONF / f"{root}.yaml").read_text())
        return {name: value for name, value in plain.items() if not name.startswith("_")}
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    # A program that calls us may be a Hydra application itself: its instance is put aside.
    place = GlobalHydra.instance()
    outer, place.hydra = place.hydra, None
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            config = hydra_compose(root, overrides=list(chosen))
    finally:
        GlobalHydra.instance().hydra = outer
    return typing.cast(dict[str, Any], OmegaConf.to_container(config))


def _set_system(data: dict[str, Any]) -> None:
    """Let a chat's system turn say what the data set needs, where it needs something of its own."""
    system = data.get("dataset", {}).get("system") if isinstance(data.get("dataset"), dict) else None
    prompt = data["policy"].get("prompt", {}) if isinstance(data.get("policy"), dict) else {}
    if system is not None and prompt.get("chat"):
        prompt["system"] = system


def _kind(schema: type[Any], data: dict[str, Any], key: str, picked: dict[str, str]) -> Any:
    """Return the type of a key, after checking that the chosen options have it."""
    kind: Any = schema
    here: Any = data
    parts = key.split(".")
    for place, part in enumerate(parts):
        if kind is dict or typing.get_origin(kind) is dict:
            return Any
        if not isinstance(here, dict) or part not in here:
            raise _unknown(key, data, picked)
        kind, here = typing.get_type_hints(kind)[part], here[part]
        if place == len(parts) - 1 and dataclasses.is_dataclass(kind):
            inside = ", ".join(f"{key}.{field.name}" for field in dataclasses.fields(kind))
            if key in picked:
                break
            raise UserError(f"{key}: set one of {inside}")
    return kind


def _field(schema: type[Any], key: str) -> Mapping[str, Any]:
    """What a key's field says of itself besides its type."""
    kind: Any = schema
    found: Mapping[str, Any] = {}
    for part in key.split("."):
        named = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        found = next((one.metadata for one in named if one.name == part), {})
        kind = typing.get_type_hints(kind).get(part) if named else None
    return found


def _inside(data: dict[str, Any], key: str, own: set[str]) -> str:
    """The place of a key in the data: what an option with a class of the user's own does not have is a parameter of the
    class, which knows it."""
    group, dot, name = key.partition(".")
    if group in own and dot and name.split(".")[0] not in data[group].keys() - {"options"}:
        return f"{group}.options.{name}"
    return key


def _unknown(key: str, data: dict[str, Any], picked: dict[str, str]) -> UserError:
    group = key.split(".")[0]
    # Of several the one that takes any file, or folder.
    several = (
        sorted(options(group), key=lambda one: one not in ("table", "folder")) if group in picked else []
    )
    for option in several:
        other = {group: yaml.safe_load((CONF / group / f"{option}.yaml").read_text())}
        if key in flatten(other) and option != picked[group]:
            return UserError(
                f"{key}: {group}={picked[group]} has no such key, {group}={option} has; add {group}={option}"
            )
    known = [*flatten(data), *picked]
    return UserError(f"{key}: no such setting{nearest(key, known)}; --help lists them all")


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for part in parents:
        data = data.setdefault(part, {})
    data[last] = value


def _value(key: str, text: str, kind: Any) -> Any:
    """Read a value as its key's type wants it: texts as they stand, lists of them by commas, else YAML."""
    if _is_list_of_texts(kind):
        items = list_of_texts(text, key)
        if typing.get_args(kind) == (str,):
            return items
        return [_mapping(key, item) if _is_mapping(item) else item for item in items]
    if text.strip() in ("null", "None"):
        return None
    if kind is str or (isinstance(kind, types.UnionType) and str in typing.get_args(kind)):
        return text_of(text, key)
    if not text.strip():
        mend = f"nothing stands behind the equals sign: give a value, as in {key}={_example(kind)}"
        raise UserError.of(key, text, mend)
    if int in choices_of(kind) and (number := whole_number(text)) is not None:
        return number
    try:
        return yaml.load(text, Yaml)
    except yaml.YAMLError:
        raise UserError.of(key, text, "cannot be read; write numbers, true, false, null or [a, b]") from None


def _example(kind: Any) -> str:
    """A value of this type, for a message."""
    examples = {bool: "true", int: "1", float: "0.5"}
    found = next((examples[one] for one in choices_of(kind) if one in examples), "[...]")
    return f"{found}, or null" if types.NoneType in choices_of(kind) else found


def _is_list_of_texts(kind: Any) -> bool:
    """Whether it is a list whose items are texts, or may be."""
    if typing.get_origin(kind) is not list:
        return False
    (item,) = typing.get_args(kind)
    return item is str or (isinstance(item, types.UnionType) and str in typing.get_args(item))


def _is_mapping(text: str) -> bool:
    return text.strip().startswith("{")


def _mapping(key: str, text: str) -> dict[str, Any]:
    """Read a mapping in Hydra's form, written as YAML on one line."""
    try:
        value = yaml.load(text, Yaml)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict) or "_target_" not in value:
        mend = "write a mapping as {_target_: my_package.module.Class, name: value}"
        raise UserError.of(key, text, mend)
    return value
