"""The policy's own confidence from settings to replicas: one word, no model, no FLOPs, and keys that say what it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from actors.errors import UserError
from actors.strategy import ROLES
from orchestration.allocation.first_come import FirstCome
from orchestration.api import settings_of
from orchestration.commands.main import main
from orchestration.doctor.case import Case
from orchestration.doctor.checkup import CHECKS
from orchestration.doctor.trial import pair_found
from orchestration.runs.estimate import estimate
from orchestration.runs.identity import identify, model_hashes, outcome_key
from orchestration.runs.record import run_record
from orchestration.runs.run_plan import run_plan
from orchestration.setup.prepare import Prepared, prepare

SCORED = "best_of_n(n=4)"


@pytest.fixture
def common(words: list[str], tmp_path: Path) -> list[str]:
    kept = [word for word in words if not word.startswith("verifier")]
    strategies = f"strategies=[greedy,{SCORED},beam(n=4,width=2)]"
    return [*kept, strategies, "cluster.policy.cpus=0.5", f"folder={tmp_path / 'run'}"]


def prepared(common: list[str], *more: str) -> Prepared:
    return prepare(settings_of([*common, "verifier=confidence", *more]))


def test_no_model_is_loaded_and_nothing_is_charged(common: list[str]) -> None:
    one, without = prepared(common), prepared(common, "verifier=none", "strategies=[greedy,majority(n=4)]")
    assert list(one.models) == list(one.memory) == ["policy"]
    plan = run_plan(one, identify(one), FirstCome(one.first_grant))
    assert list(plan.models) == ["policy"]
    assert (plan.bench.measure, list(plan.bench.costs)) == ("mean_logprob", ["policy"])
    assert plan.bench.salt("verifier") != plan.bench.salt("policy")
    [_, scored, _], [_, drawn] = estimate(one, 2).each, estimate(without, 2).each
    assert scored.expected == drawn.expected
    assert scored.worst == drawn.worst
    budgeted = [
        prepared(common, "budget.generations=50"),
        prepared(common, "budget.generations=50", "budget=exact"),
    ]
    for priced in budgeted:
        assert priced.first_grant is not None
        assert 0 < priced.first_grant < (priced.budget or 0)


def test_its_keys_are_of_the_measure_and_of_the_policy(
    common: list[str], models: tuple[Path, Path], tmp_path: Path
) -> None:
    one = prepared(common)
    identity = identify(one)
    policy = identity.models["policy"]
    flat = identity.flat()
    assert flat["verifier"] == f"mean_logprob of {policy.files}"
    assert (flat["verifier_engine"], flat["verifier_dtype"]) == (policy.engine, policy.dtype)
    assert model_hashes(flat)["verifier"] == flat["verifier"], "a plan tells it from another verifier"
    other = shutil.copytree(models[0], tmp_path / "retrained")
    weights = load_file(other / "model.safetensors")
    save_file({name: one + 1 for name, one in weights.items()}, other / "model.safetensors", {"format": "pt"})
    changed = identify(prepared(common, f"policy.path={other}"))
    assert changed.salt("verifier") != identity.salt("verifier")
    measured = identify(prepared(common, "verifier.measure=self_certainty"))
    assert measured.salt("verifier") != identity.salt("verifier")
    assert measured.salt("policy") == identity.salt("policy"), "it draws the same"
    # Who asks no verifier has the outcomes of a run without.
    plain = identify(prepared(common, "verifier=none", "strategies=[greedy]"))
    assert plain.flat()["verifier"] == ""
    assert identify(prepared(common, "strategies=[greedy]")).flat() == plain.flat()
    keys = [outcome_key("p", 7, SCORED, ROLES, 0, found) for found in (identity, changed, plain, measured)]
    assert len(set(keys)) == 4
    greedy = [outcome_key("p", 7, "greedy", ["policy"], 0, found) for found in (identity, plain)]
    assert greedy[0] == greedy[1]


def test_a_folder_goes_on_with_it_and_not_with_another_verifier(
    common: list[str], models: tuple[Path, Path]
) -> None:
    plain = prepared(common, "verifier=none", "strategies=[greedy]")
    known = run_record(plain, identify(plain), None)
    one = prepared(common)
    joined = run_record(one, identify(one), known)
    assert joined["identity"]["verifier"].startswith("mean_logprob of ")
    assert "verifier" not in joined["models"]
    other = prepared(common, "verifier=folder", f"verifier.path={models[1]}")
    with pytest.raises(UserError, match=r"verifier was .mean_logprob of \w+. and is .*prm \(files "):
        run_record(other, identify(other), joined)
    scored = run_record(other, identify(other), None)
    with pytest.raises(UserError, match=r"verifier was .*prm \(files .* and is .mean_logprob of "):
        run_record(one, identify(one), scored)


def test_the_dry_run_tells_it(common: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--dry-run", *common, "verifier=confidence"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "the policy's own confidence (mean_logprob): no model, no FLOPs" in out
    assert "verifier.measure=mean_logprob" in out
    assert "verifier.path" not in out
    assert "cluster.verifier" not in out
    assert main(["evaluate", "--dry-run", *common, "verifier=none", "strategies=[greedy]"]) == 0
    assert "verifier.measure" not in capsys.readouterr().out


def test_the_doctor_has_no_verifier_to_try(common: list[str]) -> None:
    case = Case(settings_of([*common, "verifier=confidence"]))
    for check in CHECKS[: CHECKS.index(pair_found)]:
        found = list(check(case))
        case.marks += [one.mark for one in found]
        assert all(one.mark != "wrong" for one in found), found
    [one] = pair_found(case)
    assert one.mark == "-"
    assert "the policy's own confidence (mean_logprob)" in one.text


def test_what_is_kept_of_each_token_takes_room(common: list[str]) -> None:
    plain, measured = (
        estimate(prepared(common, f"verifier.measure={one}"), 2) for one in ("mean_logprob", "self_certainty")
    )
    assert measured.expected == plain.expected
    more = {keep: size - plain.disk[keep] for keep, size in measured.disk.items()}
    assert more == {"all": pytest.approx(4 * plain.expected.drawn, abs=1), "no_token_ids": 0, "answers": 0}
