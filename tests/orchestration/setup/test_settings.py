"""Every setting is sorted by what it does to results, and the folder's record keeps to that."""

import copy
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.cluster import ray_start
from actors.errors import UserError
from actors.strategy import ROLES, Role
from orchestration.allocation.first_come import FirstCome
from orchestration.api import settings_of
from orchestration.runs.identity import identify
from orchestration.runs.record import run_record
from orchestration.runs.run_plan import run_plan
from orchestration.setup.compose import CONF, groups, options
from orchestration.setup.prepare import prepare
from orchestration.setup.settings import EvaluateSettings, check, effect_of, flatten
from tests.support import own_targets
from tests.support.places import ROOT
from tests.support.plans import plan_for
from tests.support.public_verifiers import PUBLIC
from tests.support.thinking_verifiers import save_thinkprm


@pytest.fixture(autouse=True)
def a_machine_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another value of a setting of GPUs is refused by what it says, not for want of any."""
    monkeypatch.setattr(ray_start, "gpus_here", lambda: 16)


# Another value gives other results: a folder that holds results refuses it.
CHANGES = {
    "dataset.name": "gcd",
    "dataset.split": "validation",
    "dataset.seed": "1",
    "dataset.options": "{sums: 0.5}",
    "dataset.grader": "text",
    "policy.engine": "vllm",
    "policy.reproducible": "false",
    "policy.dtype": "bfloat16",
    "policy.max_tokens": "39",
    "policy.delimiter": "9",
    "policy.stop": "[7]",
    "policy.end_after_answer": "true",
    "policy.prompt.template": "Q: {question}",
    "policy.prompt.chat": "true",
    "policy.prompt.system": "think",
    "policy.prompt.shots": "2",
    "policy.prompt.examples_seed": "1",
    "policy.prompt.chat_options": "{brief: true}",
    "verifier.engine": "vllm",
    "verifier.dtype": "bfloat16",
    "verifier.family": "reasonflux_prm",
    "verifier.separator": '"\\n\\n"',
    "verifier.max_tokens": "20",
    "verifier.temperature": "0.7",
    "verifier.chains": "3",
    "verifier.measure": "self_certainty",
    "verifier._target_": f"{own_targets.__name__}.Other",
    "verifier.options": "{weight: 2}",
    "verifier.parameters": "7",
    "reviser.engine": "vllm",
    "reviser.dtype": "bfloat16",
    "reviser.turn": "Again.",
    "budget.unit": "exact",
}
WRITES = ("verifier.max_tokens", "verifier.temperature", "verifier.chains")
# Another value adds rows or money.
EXTENDS = {
    "strategies": "[greedy,majority(n=3)]",
    "seeds": "[7]",
    "dataset.count": "9",
    "dataset.columns.id": "name",
    "dataset.columns.answer": "label",
    "dataset.columns.question": "text",
    # Those that hang on another setting have the value that leaves it out.
    "dataset.hub": "null",
    "dataset.columns.choices": "null",
    "dataset.columns.tests": "null",
    "dataset.columns.setup": "label",
    "dataset.columns.entry_point": "label",
    "dataset.columns.program": "label",
    "dataset.template": "Now: {question}",
    "dataset.path": "other.jsonl",
    "budget.flops": "1e9",
    "budget.tokens": "1e5",
    "budget.generations": "1e3",
    # The strategies say which of them there can be.
    "budget.allocation": "global",
    "budget.floor": "0",
}
# Another value changes speed, place or looks.
FREE = {
    "folder": None,
    "keep": "answers",
    "retry": "quarantined",
    "dataset.system": "Write a program.",
    "policy.path": None,
    "policy.prompt.examples": "moved.jsonl",
    "policy.typical_tokens": "20",
    # Those of a server, which this policy has not.
    "policy.url": "null",
    "policy.model": "null",
    "policy.key_variable": "null",
    "policy.timeout": "60",
    "policy.context": "200",
    "policy.likelihoods": "false",
    "verifier.path": None,
    "reviser.path": None,
    "reuse": "[]",
    "plan": "mine.yaml",
    "cluster.address": "auto",
    "cluster.grace": "5",
    "cluster.startup": "900",
    "cluster.packages": f"[{ROOT / 'tests'}]",
    "report.level": "0.9",
    "report.pairs": "[greedy vs greedy]",
    "report.by": "[family]",
    "report.figures": "[]",
    "report.beside": "[]",
} | {
    f"cluster.{model}.{key}": value
    for model in ROLES
    for key, value in {
        "replicas": "2",
        "cpus": "0.5",
        "gpus": "0.5",
        "threads": "2",
        "max_sequences": "32",
        "device": "cpu",
        "tensor_parallel": "2",
        "memory": "0.5",
    }.items()
}


def test_every_setting_is_sorted() -> None:
    known = set(flatten(asdict(EvaluateSettings())))
    for group in groups("evaluate"):
        for option in options(group):
            known |= set(flatten({group: yaml.safe_load((CONF / group / f"{option}.yaml").read_text())}))
    assert known == set(CHANGES) | set(EXTENDS) | set(FREE)
    for expected, keys in (("changes", CHANGES), ("extends", EXTENDS), ("free", FREE)):
        assert {key: effect_of(key) for key in keys} == dict.fromkeys(keys, expected)
    with pytest.raises(KeyError):
        effect_of("polcy.dtype")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    row = {"question": "1 + 1 = ?", "text": "2 + 2 = ?", "answer": "2", "label": "4", "name": "one"}
    for name in ("mine.jsonl", "other.jsonl"):
        (folder / name).write_text(json.dumps(row) + "\n")
    for name in ("examples.jsonl", "moved.jsonl"):
        (folder / name).write_text(json.dumps({"question": "7 + 1 = ?", "solution": "#### 8"}) + "\n")
    return folder


def record_of(words: list[str], known: dict[str, Any] | None) -> dict[str, Any]:
    prepared = prepare(settings_of(words))
    return run_record(prepared, identify(prepared), copy.deepcopy(known))


def base(key: str, words: list[str], table: Path) -> list[str]:
    """Settings under which the key exists."""
    if key in ("dataset.path", "dataset.hub", "dataset.template", "dataset.system") or key.startswith(
        "dataset.columns"
    ):
        kept = [word for word in words if not word.startswith("dataset.")]
        return [*kept, "dataset=table", f"dataset.path={table / 'mine.jsonl'}", "strategies=[beam(n=4)]"]
    if key in ("verifier._target_", "verifier.options", "verifier.parameters"):
        words = [word for word in words if not word.startswith("verifier.path=")]
        words += [
            "verifier=custom",
            f"verifier._target_={own_targets.__name__}.Rule",
            "verifier.parameters=3",
        ]
    if key == "verifier.measure":
        words = [word for word in words if not word.startswith("verifier.path=")] + ["verifier=confidence"]
    if key in WRITES:
        words = [word for word in words if not word.startswith("verifier.path=")]
        words += ["verifier=thinkprm", f"verifier.path={save_thinkprm(table / 'thinkprm')}"]
        words += ["verifier.max_tokens=10", "verifier.temperature=0.4", "verifier.chains=2"]
    if key in ("verifier.family", "verifier.separator"):
        words = [word for word in words if not word.startswith("verifier.path=")]
        public = PUBLIC["qwen_math_prm" if key == "verifier.family" else "trl_prm"]
        words += ["verifier=folder", f"verifier.path={public.save(table / public.name)}"]
    if key.startswith("policy.prompt.") and key != "policy.prompt.chat":
        # With one example, as there is none to be another with none.
        words = [*words, "policy.prompt.shots=1", "policy.max_tokens=10", "policy.typical_tokens=10"]
        words += ["dataset.options={legs: [1,1], sums: 0}"]
    if key == "policy.prompt.examples":
        words = [*words, f"{key}={table / 'examples.jsonl'}"]
    # Two replicas of a kind have to fit this machine.
    small = [f"cluster.{role}.cpus=0.25" for role in ROLES]
    if key.endswith(".gpus"):
        # What `auto` means hangs on them, and that decides results.
        small += [f"cluster.{role}.device=cpu" for role in ROLES]
    if key == "policy.reproducible":
        words = [*words, "policy.engine=vllm"]
    if key.startswith("cluster.") and key.endswith(("tensor_parallel", "memory")):
        model = key.split(".")[1]
        words = [*words, f"{model}.engine=vllm", f"cluster.{model}.gpus=2"]
    policy = next(word for word in words if word.startswith("policy.path=")).partition("=")[2]
    if key in ("policy.prompt.chat", "policy.prompt.system", "policy.prompt.chat_options", "reviser.turn"):
        talking = table / "talking"
        shutil.copytree(policy, talking, dirs_exist_ok=True)
        (talking / "chat_template.jinja").write_text(
            "{% for one in messages %}{{ one.content }}{% endfor %}{{ brief }}"
        )
        words = [word for word in words if not word.startswith("policy.path=")] + [f"policy.path={talking}"]
        policy = str(talking)
    if key in ("policy.prompt.system", "policy.prompt.chat_options", "reviser.turn"):
        # Nothing else reads it.
        words = [*words, "policy.prompt.chat=true"]
    if key.removeprefix("cluster.").startswith("reviser."):
        turn = ["reviser.turn=Look again."] if key == "reviser.turn" else []
        chains = "strategies=[revision(sequential=2,parallel=2,select=majority)]"
        return [*words, *small, *turn, "reviser=folder", f"reviser.path={policy}", chains]
    if key in ("budget.allocation", "budget.floor"):
        plan_for([*words, *small], table / "plan.yaml")
        priced = ["budget.flops=1e13", "budget.allocation=global"]
        return [*words, *small, *priced, f"strategies=[compute_optimal(plan='{table / 'plan.yaml'}')]"]
    return [*words, *small, "strategies=[greedy,beam(n=4)]"]


@pytest.mark.parametrize("key", CHANGES)
def test_what_changes_results_is_refused(
    key: str, words: list[str], table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key not in ("verifier.family", "verifier.separator", *WRITES):
        # As on a machine with vLLM: nothing is started here. (A public verifier's tokenizer looks for more than that.)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    before = base(key, words, table)
    known = record_of(before, None)
    value = CHANGES[key]
    changed = [word for word in before if not word.startswith(f"{key}=")]
    with pytest.raises(UserError, match="another set-up") as error:
        record_of([*changed, f"{key}={value}"], known)
    told = {
        "verifier._target_": "Rule(",
        "dataset.name": "dataset.source",
        "verifier.measure": "verifier was",
    }
    told |= dict(zip(WRITES, ("2 x 20 at 0.4", "2 x 10 at 0.7", "3 x 10 at 0.4"), strict=True))
    name = told.get(key, key.split(".")[-1])
    assert key.split(".")[1] in str(error.value) or name in str(error.value)


@pytest.mark.parametrize("key", [*EXTENDS, *FREE])
def test_all_else_goes_on(key: str, words: list[str], table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if key.endswith(("tensor_parallel", "memory")):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    before = base(key, words, table)
    known = record_of(before, None)
    value = (EXTENDS | FREE)[key]
    if key in ("dataset.path", "policy.prompt.examples"):
        value = str(table / str(value))
    if value is not None:
        before = [word for word in before if not word.startswith(f"{key}=")] + [f"{key}={value}"]
    assert record_of(before, known)["identity"] == known["identity"]


@pytest.mark.parametrize("own", [False, True])
def test_another_kind_of_device_is_another_engine(own: bool, words: list[str], table: Path) -> None:
    words = base("verifier.parameters" if own else "", words, table)
    known, first = record_of(words, None), identify(prepare(settings_of(words)))
    name = "own" if own else "local"
    assert (known["identity"]["engine"], known["identity"]["verifier_engine"]) == ("local cpu", f"{name} cpu")
    roles: tuple[Role, ...] = ("policy", "verifier")
    for role in roles:
        other = [*words, f"cluster.{role}.device=cuda"]
        was = "local" if role == "policy" else name
        with pytest.raises(UserError, match=rf'\({role}.engine was "{was} cpu" and is "{was} cuda"\)'):
            record_of(other, known)
        changed = identify(prepare(settings_of(other)))
        assert {one: changed.salt(one) != first.salt(one) for one in roles} == {
            one: one == role for one in roles
        }
        # A share of a GPU says the same, whichever of them it is on.
        shared = identify(prepare(settings_of([*words, f"cluster.{role}.gpus=0.5"])))
        assert shared.models == changed.models
        # Asked for by its name, what `auto` means is the same.
        assert record_of([*words, f"cluster.{role}.device=cpu"], known)["identity"] == known["identity"]


def test_vllm_elsewhere_is_another_engine(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("orchestration.setup.engine_choice.version", lambda package: "0.32.0")
    both = [*words, "policy.engine=vllm", "verifier.engine=vllm", "strategies=[beam(n=4)]"]
    known = record_of(both, None)
    assert known["identity"]["engine"] == known["identity"]["verifier_engine"] == "vllm 0.32 cpu"
    with pytest.raises(UserError, match=r'\(policy.engine was "vllm 0.32 cpu" and is "vllm 0.32 cuda"\)'):
        record_of([*both, "cluster.policy.gpus=1"], known)
    with pytest.raises(UserError, match=r'\(verifier.engine was "vllm 0.32 cpu" and is "vllm 0.32 cuda"\)'):
        record_of([*both, "cluster.verifier.device=cuda"], known)
    monkeypatch.setattr("orchestration.setup.engine_choice.version", lambda package: "0.33.0")
    with pytest.raises(UserError, match=r'engine was "vllm 0.32 cpu" and is "vllm 0.33 cpu"'):
        record_of(both, known)
    unseeded = identify(prepare(settings_of([*both, "policy.reproducible=false"])))
    assert unseeded.flat()["engine"] == "vllm 0.33 cpu, not reproducible"


@pytest.mark.parametrize("model", ["policy", "verifier"])
@pytest.mark.parametrize(
    ("setting", "more", "mend", "who"),
    [
        ("memory=0.5", [], "null", "no verifier of your own"),
        ("tensor_parallel=2", ["gpus=2"], "1", "only vLLM"),
    ],
)
def test_what_an_engine_does_not_heed_is_refused(
    model: str, setting: str, more: list[str], mend: str, who: str, words: list[str]
) -> None:
    name = f"cluster.{model}.{setting}".replace("=", " = ")
    given = [*words, *(f"cluster.{model}.{one}" for one in [setting, *more])]
    local = [*given, f"{model}.engine=local", "strategies=[beam(n=4)]"]
    if who == "only vLLM":
        with pytest.raises(UserError) as error:
            prepare(settings_of(local))
        assert str(error.value) == (
            f"{name}: only vLLM heeds it: leave it {mend}, or set {model}.engine=vllm (this {model} runs on the local engine)"
        )
    else:
        assert prepare(settings_of(local)).models["policy"].engine == "local"
    if model == "verifier":
        prepare(settings_of([*given, "strategies=[greedy]"]))
        own = [word for word in given if not word.startswith("verifier.path=")]
        own += ["verifier=custom", f"verifier._target_={own_targets.__name__}.Rule", "verifier.parameters=3"]
        with pytest.raises(UserError, match=rf"{name}: {who} heeds it: leave it {mend}$"):
            prepare(settings_of([*own, "strategies=[beam(n=4)]"]))


class Named:
    """A strategy of a user's own whose text leaves its parameter out."""

    text, uses_verifier, sequences = "named", False, 1

    def __init__(self, n: int = 1) -> None:
        self.n = n

    async def solve(self, prompt: object, models: object) -> None: ...


def test_strategies_that_differ_under_one_text_are_refused(words: list[str]) -> None:
    def texts(*given: str | dict[str, Any]) -> list[str]:
        settings = settings_of([*words])
        settings.strategies = list(given)
        return [one.text for one in prepare(settings).strategies]

    own = f"{__name__}.Named"
    assert texts("greedy", "beam(n=4)", "beam(width=4,n=4)", "greedy") == ["greedy", "beam(n=4,width=4)"]
    assert texts({"_target_": own, "n": 2}, {"n": 2, "_target_": own}) == ["named"]
    with pytest.raises(UserError, match=r"^strategies = 'named': two strategies have this text") as error:
        texts({"_target_": own, "n": 2}, "greedy", f"{own}(n=3)")
    assert f"{own}(n=3)" in str(error.value)


def test_replicas_are_told_which_files_the_keys_are_made_from(words: list[str]) -> None:
    prepared = prepare(settings_of([*words, "strategies=[beam(n=4)]"]))
    identity = identify(prepared)
    plan = run_plan(prepared, identity, FirstCome(prepared.first_grant))
    policy, verifier = identity.models["policy"], identity.models["verifier"]
    assert plan.models["policy"].files == (policy.files, policy.tokenizer)
    assert plan.models["verifier"].files == (verifier.files, verifier.tokenizer)
    assert verifier.files != policy.files


def test_a_verifier_may_join_and_leave(words: list[str]) -> None:
    alone = [*words, "verifier=none", "strategies=[greedy]"]
    alone = [word for word in alone if not word.startswith("verifier.path")]
    known = record_of(alone, None)
    assert known["identity"]["verifier"] == ""
    joined = record_of([*words, "strategies=[beam(n=4)]"], known)
    assert joined["identity"]["verifier"] != ""
    left = record_of(alone, joined)
    assert left["identity"] == joined["identity"]
    assert left["models"]["verifier"] == joined["models"]["verifier"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("strategies=[]", "name at least one"),
        ("seeds=[]", "name at least one"),
        ("seeds=[0,-1]", "seeds = -1: a seed lies between 0 and"),
        ("seeds=[1,0,1]", "seed 1 is named twice"),
        ("seeds=[9223372036854775808]", "a seed lies between 0 and"),
        ("keep=everything", "choose one of all, no_token_ids, answers"),
        ("policy.dtype=float23", "did you mean 'float32'"),
        ("policy.max_tokens=0", "at least 1"),
        (
            "policy.context=128",
            "policy.context = 128: a prompt and a solution of up to policy.max_tokens = 128",
        ),
        (
            "policy.typical_tokens=500",
            r"cannot be longer than policy.max_tokens = \d+: lower it too, or set it to null",
        ),
        ("policy.delimiter=", "text that ends a step"),
        (r"policy.delimiter='\n'", "a backslash and an n"),
        ("policy.prompt.template=abc", r"policy.prompt.template = 'abc': it must hold {question}"),
        ('policy.stop=[""]', "give texts that end a solution"),
        ("budget.flops=-1", "budget.flops = -1: it must lie between 1 and 1e30"),
        ("budget.flops=1.1e30", "between 1 and 1e30"),
        ("budget.tokens=1e31", "between 1 and 1e30"),
        ("cluster.policy.replicas=0", "at least 1"),
        ("cluster.policy.gpus=-1", "at least 0"),
        ("cluster.verifier.device=tpu", "auto, cpu, cuda"),
        ("report.level=95", "between 0.5 and 1"),
        ("report.figures=[gif]", "png, svg, pdf"),
    ],
)
def test_values_that_cannot_be_meant(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(settings_of([word]))


@pytest.mark.parametrize(
    ("text", "flops"),
    [
        ("1e30", 10**30),
        ("1.2e19", 12 * 10**18),
        ("16e18", 16 * 10**18),
        ("123456789012345678901234567891", 123456789012345678901234567891),
        ("1_000.0", 1_000),
    ],
)
def test_a_budget_is_exact_to_its_last_digit(text: str, flops: int) -> None:
    settings = settings_of([f"budget.flops={text}"])
    check(settings)
    assert settings.budget.flops == flops
    assert isinstance(settings.budget.flops, int)


def test_one_budget_is_enough() -> None:
    with pytest.raises(UserError, match="give one of flops, tokens and generations"):
        check(settings_of(["budget.flops=1e9", "budget.tokens=1e5"]))
