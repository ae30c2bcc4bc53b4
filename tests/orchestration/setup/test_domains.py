"""Domains: one word for data set, policy and verifier; what a user names stands above it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from actors.errors import UserError
from actors.strategy import Role
from orchestration.commands.helptext import help_of
from orchestration.problems import make_grader
from orchestration.problems.datasets.load import load, source_of
from orchestration.setup.compose import CONF, compose, options
from orchestration.setup.domains import DOMAIN, MODELS, check_domain, domains
from orchestration.setup.model_folders import model_folder
from orchestration.setup.prepare import prepare
from orchestration.setup.settings import EvaluateSettings
from orchestration.training.job import PrmJob
from orchestration.training.policy import PolicyTraining
from orchestration.training.reviser_job import ReviserJob

every_domain = pytest.mark.parametrize("domain", domains())


def evaluation(*words: str) -> EvaluateSettings:
    return compose("evaluate", words, EvaluateSettings)


@every_domain
def test_one_word_chooses_data_set_grader_policy_and_verifier(domain: str) -> None:
    settings = evaluation(f"domain={domain}")
    assert settings.policy.path == settings.verifier.path == f"bundled/{domain}"
    job = compose("train/prm", (f"domain={domain}",), PrmJob)
    training = compose("train/policy", (f"domain={domain}",), PolicyTraining)
    assert settings.dataset.name == job.dataset == training.dataset
    assert settings.dataset.grader == job.grader
    assert job.policy == settings.policy.path
    reviser = compose("train/reviser", (f"domain={domain}",), ReviserJob)
    assert (reviser.policy, reviser.dataset, reviser.grader) == (job.policy, job.dataset, job.grader)
    # Its samples are those that none asked for, and stand in no way of chains.
    assert compose("train/reviser", (f"domain={domain}", "chains=[runs/chains]"), ReviserJob).chains
    make_grader(job.grader)
    source_of(training.dataset, training.options)


def test_the_default_is_one_of_them_and_is_what_no_word_gives() -> None:
    assert evaluation() == evaluation(f"domain={DOMAIN}")
    assert compose("train/prm", (), PrmJob) == compose("train/prm", (f"domain={DOMAIN}",), PrmJob)


def test_what_is_named_stands_above_the_domain_in_whatever_order() -> None:
    for words in (("verifier=none", "domain=countdown"), ("domain=countdown", "verifier=none")):
        settings = evaluation(*words, "dataset.count=7")
        assert (settings.verifier.path, settings.policy.path) == (None, "bundled/countdown")
        assert (settings.dataset.name, settings.dataset.count) == ("countdown_chain", 7)
    named = compose("train/prm", ("domain=countdown", "policy=mine", "training.value_epochs=1"), PrmJob)
    assert (named.policy, named.grader, named.training.value_epochs) == ("mine", "countdown", 1)
    assert named.training.train_backbone


def test_a_training_of_ones_own_takes_nothing_from_a_domain_that_nobody_named() -> None:
    job = compose("train/prm", ("policy=mine", "dataset=gcd"), PrmJob)
    assert job == PrmJob("mine", "gcd")
    with pytest.raises(
        UserError, match=rf"policy must be given: add policy=\.\.\., or domain={DOMAIN}, which has one"
    ):
        compose("train/prm", ("dataset=gcd",), PrmJob)
    with pytest.raises(UserError, match=rf"dataset must be given: .*, or domain={DOMAIN}, which"):
        compose("train/prm", ("policy=mine",), PrmJob)


@pytest.mark.parametrize("root", ["evaluate", "train/policy", "train/prm", "train/reviser"])
def test_one_that_there_is_not_is_refused_by_every_command(root: str) -> None:
    schema = {
        "evaluate": EvaluateSettings,
        "train/policy": PolicyTraining,
        "train/prm": PrmJob,
        "train/reviser": ReviserJob,
    }[root]
    with pytest.raises(
        UserError, match=r"domain = 'countdwon': choose one of arithmetic, countdown .did you mean"
    ):
        compose(root, ("domain=countdwon",), schema)
    assert "domain=countdown" in help_of(root)
    with pytest.raises(UserError, match="countdwon"):
        help_of(root, ("domain=countdwon",))


def test_help_shows_the_values_of_the_domain() -> None:
    assert "vocabulary=320" in help_of("train/policy", ("domain=countdown",))
    assert "dataset=arithmetic" in help_of("train/policy", ("domain=arithmetic",))


def test_worked_solutions_fail_in_the_training_of_a_policy_alone() -> None:
    training = compose("train/policy", ("domain=countdown",), PolicyTraining)
    assert training.options["failures"] == [0.04, 0.07, 0.1, 0.1, 0.1]
    given = evaluation("domain=countdown").dataset
    grader = make_grader(given.grader)
    for problem in load(given.name, split="train", count=50, options=given.options):
        assert problem.solution is not None
        assert problem.answer is not None
        assert grader.correct(grader.extract(problem.solution), problem.answer)


@every_domain
def test_a_model_of_another_domain_is_refused_and_ones_own_is_not(domain: str) -> None:
    other = next(one for one in domains() if one != domain)
    name = evaluation(f"domain={other}").dataset.name
    with pytest.raises(UserError, match=rf"policy\.path = 'bundled/{domain}': .* domain={other} chooses"):
        check_domain(name, {"policy": f"bundled/{domain}", "verifier": None})
    with pytest.raises(UserError, match=r"verifier\.path"):
        check_domain(name, {"policy": "mine", "verifier": f"bundled/{domain}"})
    check_domain(name, {"policy": f"bundled/{other}", "verifier": "mine"})
    check_domain("gcd", {"policy": f"bundled/{domain}", "verifier": None})
    check_domain(None, {"policy": f"bundled/{domain}", "verifier": None})


@pytest.mark.parametrize("relative", [False, True])
def test_a_bundled_model_is_known_by_any_path(relative: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MODELS.parent)
    for kind in ("policy", "prm"):
        folder = MODELS / "arithmetic" / kind
        path = str(folder.relative_to(Path.cwd()) if relative else folder)
        role: Role = "policy" if kind == "policy" else "verifier"
        with pytest.raises(UserError, match=rf"{role}\.path = '{path}': .* domain=countdown chooses"):
            check_domain("countdown_chain", {role: path})
        check_domain("arithmetic", {role: path})


def test_bundled_models_of_two_domains_are_refused_whatever_the_problems() -> None:
    models: dict[Role, str | None] = {"policy": "bundled/arithmetic", "verifier": "bundled/countdown"}
    with pytest.raises(
        UserError, match=r"verifier\.path = 'bundled/countdown': .* domain=arithmetic chooses both"
    ):
        check_domain("gcd", models)
    words = ["dataset=gym", "dataset.name=gcd", "policy=arithmetic", "verifier=countdown"]
    with pytest.raises(UserError, match="verifier=arithmetic the one of this policy"):
        prepare(evaluation(*words, "strategies=[best_of_n(n=4)]"))
    # What no strategy asks is in nobody's way.
    assert prepare(evaluation(*words, "strategies=[greedy]")).models.keys() == {"policy"}


def test_a_run_of_two_domains_is_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match=r"domain=countdown chooses those that have"):
        prepare(evaluation("dataset=countdown", "policy=arithmetic", "verifier=none", "strategies=[greedy]"))


def test_bundled_models_are_named_by_their_domain() -> None:
    assert model_folder("bundled/arithmetic", "verifier").name == "prm"
    for path in ("bundled", "bundled/", "bundled/arithmetics", "bundled/arithmetic/policy"):
        with pytest.raises(UserError, match="choose one of bundled/arithmetic, bundled/countdown"):
            model_folder(path, "policy")


def test_a_reviser_and_its_verifier_have_names_where_they_come_with_a_domain() -> None:
    assert model_folder("bundled/countdown", "reviser") == (MODELS / "countdown" / "reviser").resolve()
    assert model_folder("bundled/countdown/orm", "verifier") == (MODELS / "countdown" / "orm").resolve()
    with pytest.raises(
        UserError, match=r"^reviser\.path = 'bundled/arithmetic': choose one of bundled/countdown \(did"
    ):
        model_folder("bundled/arithmetic", "reviser")
    with pytest.raises(UserError, match=r"^policy\.path = 'bundled/countdown/orm': choose one of"):
        model_folder("bundled/countdown/orm", "policy")
    with pytest.raises(UserError, match=r"^verifier\.path = 'bundled/arithmetic/orm': choose one of"):
        model_folder("bundled/arithmetic/orm", "verifier")
    for path in ("bundled/countdown/orm", str(MODELS / "countdown" / "orm")):
        with pytest.raises(UserError, match=r"verifier\.path = .* domain=arithmetic chooses"):
            check_domain("arithmetic", {"verifier": path})
        check_domain("countdown_chain", {"verifier": path})


@every_domain
def test_a_domain_names_keys_that_there_are_and_options_of_its_own_name(domain: str) -> None:
    told = yaml.safe_load((CONF / "domain" / f"{domain}.yaml").read_text())
    assert set(told) == {"evaluate", "train/policy", "train/prm", "train/reviser", "train/orm"}
    plan = told["evaluate"].pop("plan", f"bundled/{domain}")
    assert plan == f"bundled/{domain}"
    assert told["evaluate"] == dict.fromkeys(("dataset", "policy", "verifier"), domain)
    assert all(domain in options(group) for group in told["evaluate"])


def test_domains_are_files() -> None:
    assert domains() == sorted(path.stem for path in Path(CONF / "domain").glob("*.yaml"))
