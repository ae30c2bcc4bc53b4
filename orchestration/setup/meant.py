"""What was meant by a value that a setting does not take: a path or an amount where an option's name belongs, a file where a
model's folder does, a name of the Hugging Face hub where a path does.

It knows which setting takes what, and looks whether files are there; it reads none. Invariant: the way out is the words to
write, as they stand.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from actors.errors import UserError
from orchestration.setup.values import whole_number, word_of

_PLACES = {
    "policy": (
        "policy=chat",
        "policy.path",
        ", with policy=base instead of chat for a model without a chat template",
    ),
    "verifier": ("verifier=folder", "verifier.path", ""),
    "reviser": (
        "reviser=folder",
        "reviser.path",
        ", with reviser=chat instead for one that was not trained to revise",
    ),
    "dataset": ("dataset=table", "dataset.path", ""),
}
"""By group: the option of things of a user's own, the setting that names them, and what else there is to say."""

_AMOUNTS = {
    "budget": ("budget.flops", "; budget.tokens and budget.generations are other amounts"),
    "cluster": ("cluster.policy.replicas", ""),
}

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def words_meant(group: str, text: str) -> str:
    """The words for a value that is no option of this group; "" where none can be told."""
    if group in _AMOUNTS and (whole_number(text) is not None or _is_number(text)):
        name, more = _AMOUNTS[group]
        return f"for an amount write {word_of(name, text)}{more}"
    if group == "cluster" and ":" in text:
        return f"for the address of a cluster write cluster.address={text}"
    if group not in _PLACES or not _is_place(text) or text.strip().startswith("{"):
        return ""
    option, name, more = _PLACES[group]
    if group == "dataset":
        return f"for a file write {option} {word_of(name, text)}"
    if of_hub(text):
        return f"for a model of the Hugging Face hub write {option} {word_of(name, text)}{more}"
    return f"for a model's folder write {option} {word_of(name, _folder(text))}{more}"


def check_mapping(group: str, text: str) -> None:
    """Raise UserError for a mapping of a group's own settings, with the words that give them one by one."""
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    if isinstance(given, dict) and given and "_target_" not in given:
        words = " ".join(word_of(f"{group}.{name}", value) for name, value in given.items())
        raise UserError.of(group, text, f"give its settings each by its name: {words}")


def no_model(given: str, why: str = "") -> str:
    """What is the matter with a path at which no model's folder is; "" where it is neither a file nor a name of the hub,
    which has not given it, for the reason `why`."""
    if not Path(given).expanduser().is_file():
        folder = of_hub(given)
        return (
            f"there is no such folder, and it is on no hub that can be reached ({why}): run hf download {given} --local-dir "
            f"{folder} once, and give that folder"
            if folder
            else ""
        )
    folder = _folder(given)
    if Path(folder, "config.json").expanduser().is_file():
        return f"it is a file: give its folder, {folder}"
    return "it is a file: give the folder of a model, with its config.json, its safetensors and its tokenizer.json"


def of_hub(given: str) -> str:
    """A folder for a model that is named as on the Hugging Face hub; "" where the text is no such name."""
    is_name = _HUB.fullmatch(given) and not Path(given).exists() and not Path(given).parent.exists()
    return f"models/{given.partition('/')[2]}" if is_name else ""


def _folder(text: str) -> str:
    """The folder of a model, where one of its files is named."""
    path = Path(text).expanduser()
    if path.is_file() or path.name == "config.json" or path.suffix == ".safetensors":
        return str(Path(text).parent)
    return text


def _is_place(text: str) -> bool:
    return any(sign in text for sign in "/\\~.") or Path(text).exists()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
