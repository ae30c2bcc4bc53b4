"""`flopwise evaluate --dry-run`: what would run, what it would take, and whether the budget suffices.

It loads no model and starts nothing. Invariant: it writes nothing, and refuses whatever the real run would
refuse.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from actors.engines.plan import ReplicaShare
from actors.errors import counted
from actors.strategy import ROLES, Role
from orchestration.commands.announce import data_lines
from orchestration.flops import generation_flops
from orchestration.report.tables import fitted, no_room, rich_table, scientific
from orchestration.runs.estimate import Needs, estimate
from orchestration.runs.example import Example, example
from orchestration.setup.memory import size_of
from orchestration.setup.models import ModelSetup, check_loading
from orchestration.setup.prepare import Prepared
from orchestration.setup.settings import flatten
from orchestration.setup.values import word_of

if TYPE_CHECKING:
    from rich.console import Console

    from orchestration.runs.session import Opened, Session


def show_plan(prepared: Prepared, console: Console) -> None:
    """Print the plan of a run."""
    from rich.table import Table

    check_loading(prepared.settings, prepared.models)
    start = _opened(prepared)
    session = _survey(prepared, start)
    shown = example(prepared, session.prompts)
    needs = estimate(prepared, session.problems)
    settings = prepared.settings
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    grid.add_row("problems", prepared.described(session.problems))
    grid.add_row("folder", _folder(prepared, session))
    for role, model in prepared.models.items():
        public = f" ({model.family.text})" if model.family is not None else ""
        about = f"{model.name}{public}, {model.cost.parameters:,} parameters that count, {model.dtype}, "
        grid.add_row(role, about + _share(model.share))
    if prepared.measure is not None:
        grid.add_row("verifier", f"the policy's own confidence ({prepared.measure}): no model, no FLOPs")
    grid.add_row(
        "memory",
        "\n".join(
            _memory(session, role, model) for role, model in prepared.models.items() if role in prepared.asked
        ),
    )
    grid.add_row(
        "tokens",
        f"prompt {prepared.prompt_tokens} on average, solution {settings.policy.typical} "
        f"(policy.typical_tokens), at most {settings.policy.max_tokens} (policy.max_tokens)",
    )
    grid.add_row("end tokens", _ends(prepared.policy))
    grid.add_row("budget", _budget(prepared, session.charged))
    console.print(grid, highlight=False)
    console.print()
    head, cells = fitted(_HEAD, _cells(needs), console.width, ("FLOPs (exact)", "scored", "generations"))
    console.print(rich_table(head, cells, _TITLE if needs.seeds == 1 else _TITLE_SEEDS))
    if gone := no_room(_HEAD, head, console.width):
        console.print(gone, highlight=False, soft_wrap=True)
    for line in [*_verdict(prepared, needs, session), *_example(shown), *_settings(prepared)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if note := session.prompts.note():
        console.print(note, highlight=False, soft_wrap=True, markup=False)


_TITLE = "Expected for one problem, each strategy alone; at worst in brackets"
_TITLE_SEEDS = "Expected for one problem with one seed, each strategy alone; at worst in brackets"

_HEAD = ["strategy", "generations", "tokens", "scored", "FLOPs (paper)", "FLOPs (exact)"]


def _cells(needs: Needs) -> list[list[str]]:
    cells = []
    for need in needs.each:
        worst = need.worst
        cells.append(
            [
                need.strategy,
                f"{need.generations:,}",
                f"{need.expected.drawn:,}" + (f" ({worst.drawn:,})" if worst else ""),
                f"{need.expected.of('verifier'):,}",
                scientific(need.expected.paper) + (f" ({scientific(worst.paper)})" if worst else ""),
                _exact(need.expected.exact) + (f" ({_exact(worst.exact)})" if worst else ""),
            ]
        )
    return cells


def _exact(flops: int) -> str:
    # Whatever runs costs something: 0 is not known.
    return scientific(flops) if flops else "-"


def _opened(prepared: Prepared) -> Opened:
    from orchestration.runs.session import opened

    return opened(prepared)


def _survey(prepared: Prepared, start: Opened) -> Session:
    from orchestration.runs.session import survey

    return survey(prepared, start)


def _example(shown: Example) -> list[str]:
    """The first problem as the models will read it."""
    ids = list(map(str, shown.ids))
    if len(ids) > 2 * _IDS:
        ids = [*ids[:_IDS], "...", *ids[-_IDS:]]
    what = "a worked solution" if shown.worked else "a made-up solution"
    return [
        "",
        f"The prompt of the first problem ({shown.problem}), in quotes, and its {counted(len(shown.ids), 'token')}:",
        f"  {json.dumps(shown.text, ensure_ascii=False)}",
        f"  {' '.join(ids)}",
        f"The steps of {what}:",
        *(f"  {json.dumps(step, ensure_ascii=False)}" for step in shown.steps),
    ]


def _settings(prepared: Prepared) -> list[str]:
    """Every setting that counts here, as it counts, with what was made of those that were left to be told."""
    settings = prepared.settings
    told: dict[str, object] = {"policy.typical_tokens": settings.policy.typical}
    for role, model in prepared.models.items():
        told |= {f"{role}.engine": model.engine, f"cluster.{role}.device": model.share.device_kind}
        if model.server is not None:
            told |= {f"{role}.model": model.served}
    idle = _idle(prepared)
    lines = []
    for key, value in flatten(asdict(settings)).items():
        if key.startswith(idle):
            continue
        made = told.get(key, value)
        lines.append(f"  {word_of(key, value)}" + ("" if made == value else f"  (here {made})"))
    return ["", "Settings:", *lines]


def _idle(prepared: Prepared) -> tuple[str, ...]:
    """What the settings begin with that the options chosen do not have, or that are of a model which is not asked."""
    given = prepared.settings.verifier
    made = ("dataset.name", "dataset.split", "dataset.seed", "dataset.options")
    own = ("verifier._target_", "verifier.parameters", "verifier.options")
    writes = ("verifier.max_tokens", "verifier.temperature", "verifier.chains")
    public = ("verifier.family", "verifier.separator", *writes)
    idle: tuple[str, ...] = (
        made if prepared.settings.dataset.path is not None else ("dataset.path", "dataset.columns")
    )
    if given.measure is not None:
        idle += (*own, *public, "verifier.path", "verifier.engine", "verifier.dtype", "cluster.verifier")
    elif given._target_ is not None:
        idle += ("verifier.engine", *public)
    elif given.path is not None:
        idle += own
        idle += tuple(key for key in public if getattr(given, key.partition(".")[2]) is None)
    else:
        idle += (*own, *public, "verifier.engine", "verifier.dtype")
    if given.measure is None:
        idle += ("verifier.measure",)
    if prepared.policy.server is None:
        idle += ("policy.url", "policy.model", "policy.key_variable", "policy.timeout")
    for role in ROLES:
        if role not in prepared.asked:
            idle += (f"cluster.{role}", *(["reviser"] if role == "reviser" else []))
    return idle


_IDS = 20
"""Token ids that are shown of a prompt's beginning, and of its end."""


def _folder(prepared: Prepared, session: Session) -> str:
    folder = prepared.settings.folder
    if session.anew:
        return f"{folder} (begun anew: what is there is of another set-up, without an outcome)"
    if not session.outcomes_done:
        return (
            f"{folder} (new)" if not (Path(folder) / "run.json").is_file() else f"{folder} (nothing done yet)"
        )
    return f"{folder} (resuming: {session.problems_done:,} of {counted(session.problems, 'problem')} done)"


def _ends(policy: ModelSetup) -> str:
    """The policy's end tokens, and what names each."""
    from tokenizers import Tokenizer

    from actors.engines.end_tokens import ends_by_source
    from actors.engines.model_config import read_config

    by: dict[int, list[str]] = {}
    for source, named in ends_by_source(policy.path, read_config(policy.path)).items():
        for number in named:
            by.setdefault(number, []).append(source)
    tokenizer = Tokenizer.from_file(str(policy.path / "tokenizer.json"))
    shown = [
        f"{tokenizer.id_to_token(one) or '?'} ({one}: {', '.join(sources)})" for one, sources in by.items()
    ]
    return ", ".join(shown) or "none: a solution ends by its text (policy.stop) or its length"


def _share(replica: ReplicaShare) -> str:
    copies, threads = counted(replica.replicas, "replica"), counted(replica.threads, "thread")
    gpus = f" and {counted(replica.gpus, 'GPU')}" if replica.gpus else ""
    at_once = counted(replica.max_sequences, "sequence")
    return f"{copies} of {counted(replica.cpus, 'CPU')}{gpus}, {threads}, {at_once} at once"


def _memory(session: Session, role: Role, model: ModelSetup) -> str:
    """What a replica takes of its machine's memory."""
    elsewhere = "a verifier of your own" if model.server is None else f"it runs behind {model.server.url}"
    one = session.memory.get(role)
    if one is None:
        return f"{role}: - ({elsewhere})"
    return f"{role}: {one.told}"


def _budget(prepared: Prepared, charged: int) -> str:
    if prepared.budget is None:
        return "none (budget.flops, budget.tokens or budget.generations sets one)"
    typical = prepared.settings.policy.typical
    price = generation_flops(prepared.costs, prepared.prompt_tokens, typical, prepared.unit)
    left = max(0, prepared.budget - charged)
    generations = round(left / price)
    drawn, tokens = counted(generations, "generation"), counted(round(left / price * typical), "token")
    spent = f", {scientific(charged)} of it spent in this folder, {scientific(left)} left" if charged else ""
    scored = ", each scored" if "verifier" in prepared.models else ""
    return f"{scientific(prepared.budget)} FLOPs ({prepared.unit}){spent}: about {drawn}{scored}, or {tokens}"


def _verdict(prepared: Prepared, needs: Needs, session: Session) -> list[str]:
    expected = needs.expected
    disk = ", ".join(f"{size_of(size)} with keep={keep}" for keep, size in needs.disk.items())
    seeds = f", each with {needs.seeds:,} seeds" if needs.seeds > 1 else ""
    lines = [
        f"{'All ' if needs.problems > 1 else ''}{counted(needs.problems, 'problem')}{seeds}, samples shared: "
        f"{counted(expected.drawn, 'token')} drawn, "
        f"{expected.of('verifier'):,} scored, {scientific(expected.paper)} FLOPs (paper), "
        f"{_exact(expected.exact)} (exact). What several samples share is scored once, so less may be scored.",
        "At worst: "
        + (
            f"{scientific(needs.worst.paper)} FLOPs (paper), {_exact(needs.worst.exact)} (exact)."
            if needs.worst
            else "no bound is known for some strategies (a public verifier reads tokens of its own, a strategy of yours "
            "draws as it likes); a budget bounds them."
        ),
        f"On disk about {disk}.",
    ]
    if prepared.budget is not None and session.outcomes_left:
        unspent = prepared.budget - session.charged
        what = "What is left of the budget" if session.charged else "The budget"
        want: float = expected.paper if prepared.unit == "paper" else expected.exact
        worst = (
            None
            if needs.worst is None
            else needs.worst.paper
            if prepared.unit == "paper"
            else needs.worst.exact
        )
        # The estimate is of all outcomes: those still to be made are taken to be like them.
        want = want * session.outcomes_left / session.outcomes
        if prepared.settings.budget.allocation == "global":
            each = scientific(unspent / session.outcomes_left)
            most = scientific(want / session.outcomes_left)
            lines.append(
                f"Under one price a prompt gets {each} FLOPs on average; all that its plan offers takes about {most}."
            )
        elif worst is not None and worst <= unspent:
            lines.append(f"{what} suffices, even at worst.")
        elif want <= unspent:
            lines.append(f"{what} suffices as expected ({want / unspent:.0%} of it), not at worst.")
        else:
            lines.append(
                f"{what} does not suffice: it pays about {unspent / want:.0%} of what is expected; problems "
                "that it cannot pay end as unaffordable or with fewer candidates."
            )
    if prepared.settings.reuse:
        lines.append(
            f"What {', '.join(prepared.settings.reuse)} hold already costs nothing, and is not taken off these figures."
        )
    lines += [*prepared.notes, *data_lines(prepared, session)]
    if session.gone:
        lines.append(f"Not in the data any more: {session.gone:,} of the folder's problems.")
    if session.outcomes_done:
        left = (
            f"{session.outcomes_left:,} of {counted(session.outcomes, 'outcome')} "
            f"{'is' if session.outcomes_left == 1 else 'are'}"
            if session.outcomes_left
            else "None is"
        )
        lines.append(f"{left} still to be made; the figures above are for all.")
    return lines
