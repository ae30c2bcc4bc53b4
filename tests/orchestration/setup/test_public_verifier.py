"""A public verifier from settings to replicas: one yaml file for each, whatever its tokenizer, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from actors.engines.loading import load_verifier
from actors.engines.verifiers.families.known import FAMILIES
from actors.errors import UserError
from orchestration.allocation.first_come import FirstCome
from orchestration.api import settings_of
from orchestration.commands.main import main
from orchestration.runs.estimate import estimate
from orchestration.runs.identity import identify
from orchestration.runs.run_plan import run_plan
from orchestration.setup.prepare import Prepared, prepare
from tests.support.documents import ROOT, blocks
from tests.support.public_verifiers import PUBLIC, REWARD_HEAD, with_pickled_head
from tests.support.step_judges import CONTEXT, save_genprm
from tests.support.thinking_verifiers import save_thinkprm

CONFS = {
    "qwen_math_prm": "qwen_math_prm",
    "reasonflux_prm": "reasonflux_prm",
    "reasonflux_prm_1_5b": "reasonflux_prm_1_5b",
    "math_shepherd": "math_shepherd",
    "rlhflow_deepseek": "rlhflow_prm",
    "rlhflow_mistral": "rlhflow_prm",
    "skywork_prm": "skywork_prm",
    "trl_prm": "trl_prm",
    "outcome_rm": "outcome",
    "qwen_math_rm": "qwen_math_rm",
    "judge": "judge",
    "thinkprm": "thinkprm",
    "genprm": "genprm",
}
"""The option of each family, by its name."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("public")
    return {name: one.save(at / name) for name, one in PUBLIC.items()} | {
        "thinkprm": save_thinkprm(at / "thinkprm"),
        "genprm": save_genprm(at / "genprm"),
    }


@pytest.fixture
def common(words: list[str]) -> list[str]:
    kept = [word for word in words if not word.startswith("verifier")]
    shares = ["cluster.policy.cpus=0.5", "cluster.verifier.cpus=0.5"]
    return [*kept, *shares, "strategies=[greedy,majority(n=2),best_of_n(n=2),beam(n=4,width=2)]"]


def prepared(common: Sequence[str], folder: Path, *more: str, option: str = "folder") -> Prepared:
    return prepare(settings_of([*common, f"verifier={option}", f"verifier.path={folder}", *more]))


@pytest.mark.parametrize("option", CONFS)
def test_one_word_and_a_path_choose_a_verifier_of_another_tokenizer(
    option: str, common: list[str], folders: dict[str, Path]
) -> None:
    name = CONFS[option]
    # What is to be written has to have room.
    short = ["verifier.max_tokens=100"] if FAMILIES[name].thinking is not None else []
    model = prepared(common, folders[name], *short, option=option).models["verifier"]
    assert model.family is not None
    # A judge that writes has room for all that, and for the pass that reads its verdict.
    context = {"thinkprm": 1024, "genprm": CONTEXT}.get(name, 512) - model.cost.writes - bool(short)
    assert (model.family.name, model.engine, model.context) == (name, "local", context)
    weights = {
        key: one for file in folders[name].glob("*.safetensors") for key, one in load_file(file).items()
    }
    head = [one for one in weights if one.startswith(("score.", "v_head.", "reward_head."))]
    left_out = {"model.embed_tokens.weight"} | ({"lm_head.weight"} if head else set())
    assert model.cost.parameters == sum(one.numel() for key, one in weights.items() if key not in left_out)


def test_a_folder_that_tells_its_family_needs_no_word(common: list[str], folders: dict[str, Path]) -> None:
    for name in ("qwen_math_prm", "reasonflux_prm_1_5b", "skywork_prm", "trl_prm", "outcome"):
        family = prepared(common, folders[name]).models["verifier"].family
        assert family is not None
        assert family.name == name


def test_replicas_find_what_the_run_was_begun_with(
    common: list[str], folders: dict[str, Path], tmp_path: Path
) -> None:
    one = prepared(common, folders["trl_prm"], f"folder={tmp_path / 'run'}")
    identity = identify(one)
    plan = run_plan(one, identity, FirstCome(None))
    assert plan.bench.family == plan.models["verifier"].family == one.models["verifier"].family
    assert not plan.bench.texts
    engine = load_verifier(plan.models["verifier"])
    plan.models["verifier"].check(engine.info)
    other = identify(prepared(common, folders["trl_prm"], 'verifier.separator="\\n\\n"'))
    assert other.salt("verifier") != identity.salt("verifier")
    assert other.salt("policy") == identity.salt("policy")


def test_the_dry_run_tells_it(
    common: list[str], folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *common,
        "verifier=rlhflow_deepseek",
        f"verifier.path={folders['rlhflow_prm']}",
        "verifier.dtype=float32",
    ]
    assert main(["evaluate", "--dry-run", *words, f"folder={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert "(family rlhflow_prm)" in " ".join(out.split())
    assert "verifier.separator" not in out


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("rlhflow_prm", (), "verifier.path = .*set verifier.family to one of genprm, judge, "),
        (
            "trl_prm",
            ("verifier.family=tlr_prm",),
            r"verifier.family = 'tlr_prm': choose one of .*did you mean 'trl_prm'",
        ),
        ("trl_prm", ("verifier.family=skywork_prm",), "verifier.path = .*no v_head.summary.weight"),
        ("rlhflow_prm", ("verifier.family=math_shepherd",), "verifier.path = .*it is another family's"),
        (
            "skywork_prm",
            ('verifier.separator="a"',),
            "verifier.separator = 'a': the family skywork_prm has a format",
        ),
        ("trl_prm", ("verifier.separator=",), "verifier.separator = '': it stands between steps"),
    ],
)
def test_what_fits_no_family_is_refused(
    name: str, words: tuple[str, ...], why: str, common: list[str], folders: dict[str, Path]
) -> None:
    with pytest.raises(UserError, match=why):
        prepared(common, folders[name], *words)


def test_a_context_too_short_in_the_verifiers_own_tokens_is_told_before_a_run(
    common: list[str], folders: dict[str, Path], tmp_path: Path
) -> None:
    said = "in the verifier's own tokens the longest question has"
    folder = shutil.copytree(folders["qwen_math_prm"], tmp_path / "prm")
    config = json.loads((folder / "config.json").read_text())
    # Its template alone has more tokens than the policy's prompts.
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 170}))
    assert [said in note for note in prepared(common, folder).notes].count(True) == 1
    assert not any(said in note for note in prepared(common, folders["qwen_math_prm"]).notes)


def test_a_head_as_published_is_saved_once_by_the_script_of_the_docs(
    common: list[str], tmp_path: Path
) -> None:
    folder = PUBLIC["reasonflux_prm_1_5b"].save(tmp_path / "model")
    head = load_file(folder / REWARD_HEAD)
    with_pickled_head(folder)
    with pytest.raises(UserError, match=r"its head is pickled \(reward_head.pt\)"):
        prepared(common, folder, option="reasonflux_prm_1_5b")
    [script] = [block.text for block in blocks(ROOT / "docs" / "models.md") if "reward_head.pt" in block.text]
    exec(script.replace("/models/ReasonFlux-PRM-1.5B", str(folder)), {})
    assert prepared(common, folder).models["verifier"].family is not None
    saved = load_file(folder / REWARD_HEAD)
    assert saved.keys() == head.keys()
    assert all(torch.equal(saved[name], head[name]) for name in head)


def test_one_of_flopwise_has_no_family(common: list[str], models: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"verifier.family = 'trl_prm': .*flopwise trained"):
        prepared(common, models[1], "verifier.family=trl_prm")
    with pytest.raises(UserError, match=r"verifier.separator = 'a': .*flopwise trained"):
        prepared(common, models[1], "verifier.separator=a")


def judge(common: list[str], folders: dict[str, Path], *more: str) -> Prepared:
    words = ("verifier.max_tokens=50", "verifier.dtype=float32", *more)
    return prepared(common, folders["thinkprm"], *words, option="thinkprm")


def test_estimates_and_first_grants_have_room_for_what_a_judge_writes(
    common: list[str], folders: dict[str, Path]
) -> None:
    plain = [word for word in common if not word.startswith("strategies")] + ["budget.flops=1e13"]
    plain += ["strategies=[best_of_n(n=2)]"]
    few = judge(plain, folders)
    many = judge(plain, folders, "verifier.temperature=0.5", "verifier.chains=3")
    cost = few.models["verifier"].cost
    assert (cost.chains, many.models["verifier"].cost.chains) == (1, 3)
    assert few.first_grant is not None
    assert many.first_grant is not None
    assert many.first_grant - few.first_grant == 2 * cost.paper(cost.writes)
    needs = [estimate(one, 10) for one in (few, many)]
    added = needs[1].expected.paper - needs[0].expected.paper
    # Ten problems, two samples each.
    assert added == 10 * 2 * 2 * cost.paper(cost.writes)
    assert any("the verifier writes for each score (1 text of up to 50 tokens)" in note for note in few.notes)


@pytest.mark.parametrize("family", ["thinkprm", "skywork_prm"])
def test_nobody_bounds_what_a_public_verifier_reads(
    family: str, common: list[str], folders: dict[str, Path]
) -> None:
    """Trap: a text that is short in the policy's tokens may be long in its own."""
    plain = [word for word in common if not word.startswith("strategies")]
    words = [*plain, "strategies=[greedy,best_of_n(n=2),beam(n=4,width=2)]"]
    one = judge(words, folders) if family == "thinkprm" else prepared(words, folders[family], option=family)
    needs = estimate(one, 10)
    unbounded = [need.strategy for need in needs.each if need.worst is None]
    assert unbounded == ["best_of_n(n=2)", "beam(n=4,width=2)"]
    assert needs.worst is None


def test_of_a_judge_of_steps_a_dry_run_tells_that_it_writes_for_each(
    common: list[str], folders: dict[str, Path]
) -> None:
    plain = [word for word in common if not word.startswith("strategies")]
    words = [*plain, "strategies=[best_of_n(n=2,aggregation=min)]", "verifier.max_tokens=50"]
    one = prepared(words, folders["genprm"], option="genprm")
    assert any(
        "once for each step, and reads what it wrote about the steps before" in note for note in one.notes
    )
    needs = estimate(one, 10)
    cost = one.models["verifier"].cost
    assert needs.expected.paper > 10 * 2 * cost.paper(cost.writes)


@pytest.mark.parametrize("how", ["min", "product", "mean"])
def test_one_judgement_of_all_steps_has_no_other_value(
    how: str, common: list[str], folders: dict[str, Path]
) -> None:
    strategy = f"best_of_n(n=2,aggregation={how})"
    words = [word for word in common if not word.startswith("strategies")] + [f"strategies=[{strategy}]"]
    with pytest.raises(UserError, match=f"strategies = .*aggregation={how} asks for a score of each step"):
        judge(words, folders)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("verifier.family=judge",), "verifier.max_tokens = 50: one of the family judge writes nothing"),
        (("verifier.max_tokens=0",), "verifier.max_tokens = 0: it must be at least 1"),
        (("verifier.temperature=-1",), "verifier.temperature = -1.0: it must lie between 0"),
        (("verifier.chains=0",), "verifier.chains = 0: it must be at least 1"),
        (("verifier.chains=4",), "verifier.chains = 4: at temperature 0 all chains would be one"),
        (
            ("verifier.max_tokens=1023",),
            "verifier.max_tokens = 1023: .* leave nothing of the context of 1,024",
        ),
        (("verifier.max_tokens=970",), "policy.max_tokens = .* exceeds the verifier's context of 31;"),
    ],
)
def test_what_a_judge_cannot_write_is_refused(
    words: tuple[str, ...], why: str, common: list[str], folders: dict[str, Path]
) -> None:
    with pytest.raises(UserError, match=why):
        judge(common, folders, *words)


def test_no_plan_asks_it_for_the_value_of_a_prompt(common: list[str], folders: dict[str, Path]) -> None:
    words = [word for word in common if not word.startswith("strategies")]
    words += ["strategies=[compute_optimal(plan='bundled/countdown')]"]
    words += ["budget.flops=1e12", "budget.allocation=global"]
    with pytest.raises(UserError, match="judges steps only"):
        prepared(words, folders["trl_prm"])
