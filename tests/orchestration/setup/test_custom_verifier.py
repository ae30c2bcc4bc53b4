"""A verifier of a user's own from settings to identity: forms that mean the same, costs, and runs that never mix."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from actors.errors import UserError
from actors.strategy import ROLES
from orchestration.allocation.first_come import FirstCome
from orchestration.api import settings_of
from orchestration.commands.dry_run import show_plan
from orchestration.flops import ModelCost
from orchestration.runs.identity import identify, outcome_key
from orchestration.runs.record import run_record
from orchestration.runs.run_plan import run_plan
from orchestration.setup.prepare import Prepared, prepare
from tests.support import own_targets

RULE = f"{own_targets.__name__}.Rule"


@pytest.fixture
def common(words: list[str]) -> list[str]:
    kept = [word for word in words if not word.startswith("verifier")]
    return [
        *kept,
        "strategies=[greedy,best_of_n(n=2)]",
        "cluster.policy.cpus=0.5",
        "cluster.verifier.cpus=0.5",
    ]


def own(common: list[str], *more: str, **mapping: object) -> Prepared:
    given = {"_target_": RULE, "parameters": 0, **mapping}
    return prepare(settings_of([*common, f"verifier={json.dumps(given)}", *more]))


def test_a_mapping_and_single_keys_mean_the_same(common: list[str]) -> None:
    mapping = own(common, weight=2, names=["a", "b"])
    keys = ["verifier=custom", f"verifier._target_={RULE}", "verifier.names=[a, b]", "verifier.weight=2"]
    single = prepare(settings_of([*common, *keys, "verifier.parameters=0"]))
    assert single.models["verifier"].target == mapping.models["verifier"].target
    assert single.settings.verifier == mapping.settings.verifier
    # A later word lies over a mapping.
    assert own(common, "verifier.weight=2", weight=1, names=["a", "b"]).models == mapping.models
    assert mapping.models["verifier"].name == f"{RULE}(names=['a', 'b'], weight=2, parameters=0)"


def test_other_options_have_other_keys_and_the_folder_is_refused(common: list[str], tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text("one")
    first = own(common, f"folder={tmp_path / 'run'}", weight=1, path=str(rules))
    identity = identify(first)
    known = run_record(first, identity, None)
    assert known["models"]["verifier"]["path"] == f"{RULE}(weight=1, path='{rules}', parameters=0)"
    changes: list[tuple[dict[str, Any], str]] = [
        ({"weight": 2}, f'was "{RULE}(weight=1, .*and is "{RULE}(weight=2, '),
        ({"_target_": RULE.replace("Rule", "Newer")}, "Newer"),
        ({"parameters": 5}, "parameters=5"),
        ({"path": None}, "(weight=1, parameters=0) (files "),
    ]
    for change, says in changes:
        other = own(common, f"folder={tmp_path / 'run'}", **{"weight": 1, "path": str(rules), **change})
        changed = identify(other)
        assert changed.salt("verifier") != identity.salt("verifier")
        assert outcome_key("p", 7, "best_of_n(n=2)", ROLES, 0, changed) != outcome_key(
            "p", 7, "best_of_n(n=2)", ROLES, 0, identity
        )
        assert outcome_key("p", 7, "greedy", ["policy"], 0, changed) == outcome_key(
            "p", 7, "greedy", ["policy"], 0, identity
        )
        with pytest.raises(UserError, match="it holds results of another set-up") as error:
            run_record(other, changed, known)
        assert all(part in str(error.value) for part in says.split(".*"))
    rules.write_text("two")
    again = own(common, f"folder={tmp_path / 'run'}", weight=1, path=str(rules))
    with pytest.raises(UserError, match=r"files \w+\)\" and is .*files \w+\)"):
        run_record(again, identify(again), known)


def test_a_replica_is_told_all_of_it(common: list[str]) -> None:
    prepared = own(common, weight=1)
    identity = identify(prepared)
    plan = run_plan(prepared, identity, FirstCome(prepared.first_grant))
    verifier, policy = identity.models["verifier"], identity.models["policy"]
    assert plan.models["verifier"].target == prepared.models["verifier"].target is not None
    assert plan.models["verifier"].files == (verifier.files, policy.tokenizer)
    assert plan.bench.salt("verifier") == identity.salt("verifier")
    assert [text for text, _ in plan.bench.strategies] == ["greedy", "best_of_n(n=2)"]


def test_what_it_costs(common: list[str], models: tuple[Path, Path], tmp_path: Path) -> None:
    rule = own(common).costs["verifier"]
    assert (rule.paper(100), rule.exact(10, 100, 5)) == (0, 0)
    given = own(common, parameters=1000).costs["verifier"]
    assert (given.paper(100), given.exact(10, 100, 5)) == (200_000, 200_000)
    folder = own(common, parameters=None, path=str(models[1]))
    assert folder.costs["verifier"] == ModelCost.from_folder(models[1])
    assert folder.contexts.tokens["verifier"] == 256
    short = tmp_path / "short"
    shutil.copytree(models[1], short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 20}))
    with pytest.raises(UserError, match="exceeds the verifier's context of 20"):
        own(common, path=str(short))
    with pytest.raises(UserError, match=r"verifier.parameters = -1: it must be at least 0"):
        own(common, parameters=-1)


def test_without_a_strategy_that_asks_it_nothing_is_imported(common: list[str]) -> None:
    prepared = own(common, "strategies=[greedy]", _target_="no_such_module.Mine")
    assert list(prepared.models) == ["policy"]
    assert identify(prepared).flat()["verifier"] == ""


def test_a_dry_run_names_it(common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    show_plan(own(common, f"folder={tmp_path}", weight=1), Console(width=200))
    assert f"verifier {RULE}(weight=1, parameters=0), 0 parameters that count" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize("value", ["2020-01-01", ".nan", "{1: a}"])
def test_options_are_what_json_can_say(common: list[str], value: str) -> None:
    words = [*common, "verifier=custom", f"verifier._target_={RULE}", f"verifier.weight={value}"]
    with pytest.raises(UserError, match=r"verifier.weight = .*: it must be a text, a number"):
        prepare(settings_of(words))
