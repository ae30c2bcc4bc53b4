"""From words to settings, and what is said of words that cannot be."""

import shlex
from dataclasses import fields
from typing import Any

import pytest
import yaml

from actors.errors import UserError
from orchestration.commands.helptext import entries, group_entries, help_of
from orchestration.commands.report import _Settings
from orchestration.setup.compose import CONF, compose, groups, options
from orchestration.setup.settings import EvaluateSettings, ReportSettings, ShowSettings, check, flatten
from orchestration.setup.values import list_of_texts
from orchestration.strategies.parse import parse
from orchestration.training.job import PrmJob
from orchestration.training.policy import PolicyTraining


def settings(*words: str) -> EvaluateSettings:
    return compose("evaluate", words, EvaluateSettings)


def test_the_defaults_are_those_of_the_files_and_pass_every_check() -> None:
    default = settings()
    check(default)
    assert [parse(text).text for text in default.strategies][:2] == ["greedy", "majority(n=1)"]
    assert (default.dataset.count, default.policy.path, default.budget.flops) == (
        200,
        "bundled/countdown",
        None,
    )
    assert default.policy.delimiter == "\n"


@pytest.mark.parametrize("group", ["dataset", "policy", "verifier", "budget", "cluster", "report"])
def test_every_option_of_every_group_composes(group: str) -> None:
    missing = {
        "gym": "dataset.name=chain_sum",
        "table": "dataset.path=x.jsonl",
        "custom": "verifier._target_=my.Class",
    }
    for option in options(group):
        words = [f"{group}={option}"]
        if (CONF / group / f"{option}.yaml").read_text().find("???") >= 0:
            words.append(missing.get(option, f"{group}.path=somewhere"))
        check(settings(*words))


def test_values_are_read_by_their_type() -> None:
    found = settings(
        "strategies=[greedy,beam(n=16,width=4)]",
        "budget.flops=1e13",
        "policy.prompt.template=Q: {question} (a, b)",
        'policy.delimiter="\\n\\n"',
        "dataset.options.legs=[1,4]",
        "policy.prompt.chat=true",
        "dataset.count=1e3",
        "report.figures=svg",
        "folder=runs/a b",
        "policy.prompt.system=null",
    )
    assert found.strategies == ["greedy", "beam(n=16,width=4)"]
    assert found.budget.flops == 1e13
    assert found.policy.prompt.template == "Q: {question} (a, b)"
    assert found.policy.delimiter == "\n\n"
    assert found.dataset.options == {"legs": [1, 4]}
    assert found.policy.prompt.chat is True
    assert found.dataset.count == 1000
    assert found.report.figures == ["svg"]
    assert found.folder == "runs/a b"
    assert found.policy.prompt.system is None


def test_what_one_command_is_told_no_other_finds() -> None:
    words = ("domain=arithmetic", "dataset.options.legs=[1,4]", "policy.stop=['a']")
    told, other = settings(*words), settings("domain=arithmetic")
    assert (told.dataset.options, told.policy.stop) == ({"legs": [1, 4]}, ["a"])
    assert (other.dataset.options, other.policy.stop) == ({}, [])
    given = ("domain=countdown", "options.values=[1,2]")
    assert compose("train/policy", given, PolicyTraining).options["values"] == [1, 2]
    assert compose("train/policy", ("domain=countdown",), PolicyTraining).options["values"] == [2, 50]


def test_mappings_in_hydras_form_are_read() -> None:
    found = settings(
        "strategies=[greedy,{_target_: my.Mine, n: 4, names: [a, b]},'beam(n=4,width=2)']",
        "verifier={_target_: my.Rule, path: rules, weight: 1e-3, deep: {a: 1}, parameters: 1e9}",
        "verifier.deep.b=2",
        "cluster.packages=[a b/mine,other.py]",
    )
    check(found)
    assert found.strategies == [
        "greedy",
        {"_target_": "my.Mine", "n": 4, "names": ["a", "b"]},
        "beam(n=4,width=2)",
    ]
    verifier = found.verifier
    assert (verifier._target_, verifier.path, verifier.dtype) == ("my.Rule", "rules", "float32")
    assert verifier.parameters == 1_000_000_000
    assert verifier.options == {"weight": 0.001, "deep": {"a": 1, "b": 2}}
    assert found.cluster.packages == ["a b/mine", "other.py"]


def test_lists_of_texts() -> None:
    assert list_of_texts("[greedy,'majority(n=16)', beam(n=4,width=2)]") == [
        "greedy",
        "majority(n=16)",
        "beam(n=4,width=2)",
    ]
    assert list_of_texts("greedy") == ["greedy"]
    assert list_of_texts("[]") == []
    assert list_of_texts('["a vs b"]') == ["a vs b"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("dataset.cuont=3", "did you mean 'dataset.count'"),
        ("datset=table", "did you mean 'dataset'"),
        ("verifier.weight=2", "verifier.weight: no such setting"),
        (
            "verifier._target_=my.Rule",
            "verifier=countdown has no such key, verifier=custom has; add verifier=custom",
        ),
        ("verifier=custom", "verifier._target_ must be given"),
        ("verifier={_target_: 3}", "verifier._target_ = 3: it must be a text or null"),
        ("verifier={weight: 2}", "write a mapping as {_target_: my_package.module.Class, name: value}"),
        ("verifier={", "write a mapping as"),
        (
            "policy={_target_: my.Policy}",
            "policy = '{_target_: my.Policy}': choose one of arithmetic, base, chat, countdown$",
        ),
        ("strategies=[{n: 4}]", "write a mapping as"),
        ("strategies=[{_target_: my.Mine, n: [}]", "write a mapping as"),
        (
            "dataset=tabel",
            "choose one of aime, amc, arc, .*, olympiadbench, table .did you mean 'table'",
        ),
        ("dataset.path=x", "dataset=countdown has no such key, dataset=table has"),
        ("dataset=table", "dataset.path must be given"),
        ("dataset.count=many", "a whole number or null"),
        ("dataset.count=1.5", "a whole number or null"),
        ("seeds=[true]", "seeds = True: it must be a whole number"),
        ("seeds=[0.5]", "seeds = 0.5: it must be a whole number"),
        ("seeds=3", r"it must be a list, as in seeds=\[3\]"),
        ("seeds=0,1,2", r"it must be a list, as in seeds=\[0,1,2\]"),
        ("seed=1", "did you mean 'seeds'"),
        ("budget.flops=nan", "a whole number or null"),
        ("budget.flops=lots", "a whole number or null"),
        ("budget.flops=1e999999999", "a whole number or null"),
        ("budget.flops=1.5", "a whole number or null"),
        ("policy.prompt.chat=maybe", "true or false"),
        ("policy.prompt=x", "set one of policy.prompt.template"),
        ("dataset.options.legs=[1", "cannot be read"),
        ("cluster.policy.replicas.x=1", "no such setting"),
        ("evaluate", "key=value"),
        ("=3", "key=value"),
    ],
)
def test_mistakes_are_named(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(word)


def test_composing_twice_and_inside_another_hydra_application() -> None:
    from hydra import initialize_config_dir

    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        assert settings("seeds=[3,5]").seeds == [3, 5]
    assert settings().seeds == [0]


@pytest.mark.parametrize(
    "root", ["evaluate", "report", "show", "train/policy", "train/prm", "train/reviser", "train/orm"]
)
def test_help_explains_every_key(root: str) -> None:
    text = help_of(root)
    assert text.startswith(f"flopwise {root.replace('/', ' ')}")
    assert "Examples:" in text
    documented = entries(CONF / f"{root}.yaml")
    for group, default in groups(root).items():
        documented += group_entries(group, default)
    assert all(entry.meaning for entry in documented), [e.key for e in documented if not e.meaning]
    known = set()
    plain = yaml.safe_load((CONF / f"{root}.yaml").read_text())
    known |= set(flatten({key: value for key, value in plain.items() if key != "defaults"}))
    for group in groups(root):
        for option in options(group):
            known |= set(flatten({group: yaml.safe_load((CONF / group / f"{option}.yaml").read_text())}))
    hydra = {key for key in known if "_target_" in key or "_convert_" in key}
    known -= hydra - {"verifier._target_"}
    assert {entry.key for entry in documented} == known


def examples(root: str) -> list[list[str]]:
    """The command lines of a help's examples, continuations joined."""
    text = help_of(root).split("Settings, with")[0].split("Examples:")[1].replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("flopwise ")]


@pytest.mark.parametrize(
    "root", ["evaluate", "report", "show", "train/policy", "train/prm", "train/reviser", "train/orm"]
)
def test_every_example_of_the_help_is_valid(root: str) -> None:
    from orchestration.training.job import PrmJob
    from orchestration.training.orm_job import OrmJob
    from orchestration.training.policy import PolicyTraining
    from orchestration.training.reviser_job import ReviserJob

    schemas: dict[str, type[Any]] = {
        "train/policy": PolicyTraining,
        "train/prm": PrmJob,
        "train/reviser": ReviserJob,
        "train/orm": OrmJob,
    }
    schemas |= {"report": _Settings, "show": ShowSettings}
    found = examples(root)
    assert len(found) >= 2
    for line in found:
        words = [word for word in line if "=" in word]
        if line[0] == "evaluate":
            for text in settings(*words).strategies:
                parse(text)
        else:
            compose(root, words, schemas[root])


def test_files_and_schemas_agree() -> None:
    from orchestration.training.job import PrmJob
    from orchestration.training.orm_job import OrmJob
    from orchestration.training.policy import PolicyTraining
    from orchestration.training.reviser_job import ReviserJob

    # A training that names its own data set takes nothing from a domain.
    assert compose("train/policy", ("dataset=gcd",), PolicyTraining) == PolicyTraining("gcd")
    assert compose("train/prm", ("policy=p", "dataset=gcd"), PrmJob) == PrmJob("p", "gcd")
    assert compose("train/reviser", ("policy=p", "dataset=gcd"), ReviserJob) == ReviserJob("p", "gcd")
    assert compose("train/orm", ("reviser=r",), OrmJob) == OrmJob("r")
    assert compose("show", (), ShowSettings) == ShowSettings()
    assert settings().report == ReportSettings()
    assert {field.name for field in fields(EvaluateSettings)} == set(
        yaml.safe_load((CONF / "evaluate.yaml").read_text())
    ) - {"defaults"} | set(groups("evaluate"))


def test_a_mapping_without_names_is_refused() -> None:
    with pytest.raises(UserError, match=r"parts\.1: no such setting"):
        compose("train/prm", ["policy=mine", "dataset=gcd", "parts=[{1: 2}]"], PrmJob)
