"""Checks of the models by themselves and together: files, tokenizers, and the form of the steps that a verifier was taught.

It reads configs, tokenizers and the headers of weights, and loads no weights. Invariant: a model is refused here by what
would refuse it in a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from actors.engines.folder_files import read_settings
from actors.engines.verifiers.families.known import family_of
from actors.engines.weights import weight_bytes, weight_files
from actors.errors import UserError, counted
from actors.strategy import Role
from orchestration.doctor.case import Case
from orchestration.doctor.findings import Finding, skipped
from orchestration.setup.endings import ending
from orchestration.setup.memory import size_of
from orchestration.setup.model_folders import read_model
from orchestration.setup.models import ModelSetup, check_loading, read_role


def files_found(case: Case) -> Iterator[Finding]:
    """Each model's folder: config, weights in safetensors, tokenizer, an architecture that its engine reads."""
    for role in case.asked:
        own = role == "verifier" and case.settings.verifier._target_ is not None
        if own and "policy" not in case.folders:
            yield skipped("files", "verifier: it is handed the policy's tokenizer, whose folder is wrong")
            continue
        try:
            if own:
                case.alone[role] = read_role(role, case.settings, case.folders["policy"])
                yield Finding("files", "ok", f"{role}: {case.alone[role].name}, a verifier of your own")
                continue
            path: str = getattr(case.settings, role).path
            case.folders[role] = folder = read_model(path, role, weights=_weighed(case, role))
            setup = read_role(role, case.settings, folder if role == "policy" else None)
            check_loading(case.settings, {role: setup})
        except UserError as error:
            yield Finding("files", "wrong", str(error))
            continue
        case.alone[role] = setup
        yield Finding("files", "ok", f"{role}: {_described(setup)}")


def _weighed(case: Case, role: Role) -> bool:
    """Whether a role's weights are here: those of a policy behind an address are its server's."""
    return role != "policy" or case.settings.policy.engine != "http"


def _described(setup: ModelSetup) -> str:
    kinds = read_settings(setup.path, "config.json").get("architectures") or [
        "a model of no named architecture"
    ]
    if setup.server is not None:
        return f"{kinds[0]}, {setup.cost.parameters:,} parameters that count, behind {setup.server.url}"
    files = counted(len(weight_files(setup.path)), "safetensors file")
    family = "" if setup.family is None else f", {setup.family.text}"
    return (
        f"{kinds[0]}{family}, {setup.cost.parameters:,} parameters that count, {size_of(weight_bytes(setup.path, None))} in "
        f"{files}; {setup.engine} engine, {setup.dtype}"
    )


def tokenizers_found(case: Case) -> Iterator[Finding]:
    """The tokens of each model against the policy's, or those that its family reads scores at."""
    policy = case.folders.get("policy")
    for role in case.asked:
        if role not in case.alone:
            yield skipped("tokenizers", f"{role}: its files are wrong")
            continue
        if policy is None:
            yield skipped("tokenizers", f"{role}: the policy's files are wrong")
            continue
        try:
            if role == "policy":
                chat = case.settings.policy.prompt.chat
                read_model(case.settings.policy.path, role, chat=chat, weights=_weighed(case, role))
            case.models[role] = setup = read_role(role, case.settings, policy)
            yield Finding("tokenizers", "ok", f"{role}: {_tokens(case, role, setup)}")
        except UserError as error:
            yield Finding("tokenizers", "wrong", str(error))


def _tokens(case: Case, role: Role, setup: ModelSetup) -> str:
    if setup.target is not None:
        return "told the policy's token ids, the question and the steps as text"
    folder = case.folders[role]
    count = f"{len(folder.vocabulary):,} tokens"
    if role == "policy":
        return count + (", with a chat template" if folder.has_chat_template else ", without a chat template")
    if setup.family is None:
        return f"{count}, the policy's"
    wording = setup.family.wording()
    reading = wording.read("1 + 1?", ("1 + 1 = 2",))
    read = reading.ids if reading.writing is None else reading.writing.then
    where = _token(folder.tokenizer, read[-1])
    if wording.pair is not None:
        good, bad = (_token(folder.tokenizer, one) for one in wording.pair)
        return f"{count} of its own; a score is how much likelier {good} is than {bad} behind {where}"
    return f"{count} of its own; a score is read at {where}"


def _token(tokenizer: Any, token: int) -> str:
    """A token's text in quotes, and its id."""
    text = tokenizer.decode([token], skip_special_tokens=False)
    return f"{json.dumps(text, ensure_ascii=False)} ({token})"


def steps_found(case: Case) -> Iterator[Finding]:
    """What ends a step, against what the strategies need and what the verifier was taught."""
    given, policy = case.settings.policy, case.folders.get("policy")
    if policy is None:
        yield skipped("steps", "the policy's files are wrong")
        return
    try:
        ending(given, policy.tokenizer, case.strategies)
    except UserError as error:
        yield Finding("steps", "wrong", str(error))
        return
    verifier = case.alone.get("verifier")
    if verifier is None or verifier.family is None:
        whole = "a solution is one step (policy.delimiter=null)"
        ends = whole if given.delimiter is None else f"a step ends with {_quoted(given.delimiter)}"
        yield Finding("steps", "ok", ends)
        return
    family = family_of(verifier.family.name)
    taught = {verifier.family.separator or "\n": ""} if family.separator is not None else family.steps
    if taught and given.delimiter not in taught:
        ends = " or ".join(_quoted(one) for one in taught)
        words = " or ".join(f"policy.delimiter={_quoted(one)}" for one in taught)
        text = (
            f"policy.delimiter = {_quoted(given.delimiter)}: the verifier ({family.name}) was trained on steps that end with "
            f"{ends}, and judges others badly: set {words}, and have the policy's prompt ask for such steps"
        )
        yield Finding("steps", "warning", text)
        return
    begin = taught.get(given.delimiter or "", "")
    asked = " ".join([given.prompt.template, given.prompt.system or ""])
    if begin and begin.strip() not in asked and not given.prompt.shots:
        text = (
            f'the verifier ({family.name}) was trained on steps that begin with "{begin}" and so on, and nothing in the '
            "policy's prompt asks for that: say so in policy.prompt.system (of a chat), or policy.prompt.template"
        )
        yield Finding("steps", "warning", text)
        return
    form = f'begins with "{begin}" and ' if begin else ""
    of = f", as {family.name} was taught" if taught else f"; {family.name} takes any"
    yield Finding("steps", "ok", f"a step {form}ends with {_quoted(given.delimiter)}{of}")


def _quoted(delimiter: str | None) -> str:
    return json.dumps(delimiter, ensure_ascii=False)
