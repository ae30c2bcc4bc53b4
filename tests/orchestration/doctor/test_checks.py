"""Each check of `flopwise doctor` once where it is right and once where it is wrong, on tiny models."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from orchestration.api import settings_of
from orchestration.doctor import trial
from orchestration.doctor.case import Case
from orchestration.doctor.checkup import CHECKS, checkup
from orchestration.doctor.data import data_found, prompts_found, settings_found
from orchestration.doctor.findings import Finding, Mark
from orchestration.doctor.fits import contexts_found, memory_found, run_found
from orchestration.doctor.models import files_found, steps_found, tokenizers_found
from orchestration.doctor.pairs import WRITTEN, Pair
from orchestration.doctor.trial import _judged, generation_found, pair_found
from orchestration.setup import memory
from orchestration.setup.domains import MODELS
from tests.support.public_verifiers import PUBLIC
from tests.support.served import ServerProcess
from tests.support.step_judges import save_genprm
from tests.support.thinking_verifiers import save_thinkprm

Check = Callable[[Case], Iterator[Finding]]

SHARES = ["cluster.policy.cpus=0.5", "cluster.verifier.cpus=0.5"]


@pytest.fixture
def common(words: list[str], tmp_path: Path) -> list[str]:
    return [*words, *SHARES, "strategies=[greedy,best_of_n(n=2)]", f"folder={tmp_path / 'run'}"]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny verifier of a family, which nothing may change."""
    at = tmp_path_factory.mktemp("public")
    return cache(lambda name: PUBLIC[name].save(at / name))


@pytest.fixture
def qwen(public: Callable[[str], Path]) -> Path:
    return public("qwen_math_prm")


def findings(words: Sequence[str], last: Check, *before: Check) -> list[Finding]:
    """What a check finds behind those that stand before it, or behind these."""
    case = Case(settings_of(list(words)))
    for check in before or CHECKS[: CHECKS.index(last)]:
        case.marks += [one.mark for one in check(case)]
    return list(last(case))


def marks(found: Sequence[Finding]) -> list[Mark]:
    return [one.mark for one in found]


def with_vocabulary(folder: Path, to: Path, first: str, second: str) -> Path:
    """A folder in which two tokens have each other's ids."""
    shutil.copytree(folder, to)
    tokenizer = json.loads((to / "tokenizer.json").read_text())
    known = tokenizer["model"]["vocab"]
    known[first], known[second] = known[second], known[first]
    (to / "tokenizer.json").write_text(json.dumps(tokenizer))
    return to


def with_config(folder: Path, to: Path, **changes: object) -> Path:
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | changes))
    return to


def test_settings(common: list[str]) -> None:
    assert [one.text for one in findings(common, settings_found)] == [
        "2 strategies; models that are asked: policy, verifier"
    ]
    [wrong] = findings([*common, "strategies=[majorty(n=4)]"], settings_found)
    assert wrong.mark == "wrong"
    assert "did you mean 'majority'?" in wrong.text
    kept = [word for word in common if not word.startswith("verifier")]
    [lacking] = findings([*kept, "verifier=none"], settings_found)
    assert lacking.mark == "wrong"
    assert "best_of_n(n=2) needs a verifier" in lacking.text


def test_data(common: list[str], tmp_path: Path) -> None:
    [right] = findings(common, data_found)
    assert right.mark == "ok"
    assert right.text.startswith("6 test problems of ")
    table = tmp_path / "d.csv"
    table.write_text("question,answer\n1 + 2 = ?,3\n,4\n")
    kept = [word for word in common if not word.startswith(("dataset", "domain"))]
    named = ["domain=arithmetic", *kept, "dataset=table", f"dataset.path={table}", "dataset.grader=number"]
    warning, told = findings(named, data_found)
    assert (warning.mark, told.mark) == ("warning", "ok")
    assert warning.text.startswith("rows that are skipped: 1 of 2; row 1: no question")
    [wrong] = findings([*named, "dataset.path=/nowhere.csv"], data_found)
    assert wrong.mark == "wrong"
    assert "there is no such file" in wrong.text


def test_a_bundled_model_asked_about_what_it_has_never_seen(tmp_path: Path) -> None:
    words = ["dataset=arithmetic", "verifier=none", "strategies=[greedy]", f"folder={tmp_path / 'run'}"]
    wrong, told = findings(words, data_found)
    assert (wrong.mark, told.mark) == ("wrong", "ok")
    assert "this model has never seen problems of arithmetic" in wrong.text


def test_files(common: list[str], models: tuple[Path, Path], tmp_path: Path) -> None:
    policy, verifier = findings(common, files_found)
    assert marks([policy, verifier]) == ["ok", "ok"]
    assert policy.text.startswith("policy: LlamaForCausalLM, ")
    assert policy.text.endswith("in 1 safetensors file; local engine, float32")
    bare = shutil.copytree(models[0], tmp_path / "policy")
    (bare / "model.safetensors").unlink()
    other = with_config(models[1], tmp_path / "prm", model_type="nosuch")
    wrong = findings([*common, f"policy.path={bare}", f"verifier.path={other}"], files_found)
    assert marks(wrong) == ["wrong", "wrong"], "both at once"
    assert wrong[0].text.startswith(
        f"policy.path = '{bare}': there are no weights: it needs model.safetensors"
    )
    assert wrong[1].text.startswith(f"verifier.path = '{other}': ")


def test_an_architecture_that_the_engine_does_not_read(
    common: list[str], models: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(models[0], tmp_path / "policy")
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"model.layers.0.mlp.more.weight": torch.ones(1)}, folder / "model.safetensors")
    wrong, right = findings([*common, f"policy.path={folder}"], files_found)
    assert marks([wrong, right]) == ["wrong", "ok"]
    assert "it has a tensor model.layers.0.mlp.more.weight" in wrong.text


def test_tokenizers(common: list[str], models: tuple[Path, Path], tmp_path: Path) -> None:
    assert marks(findings(common, tokenizers_found)) == ["ok", "ok"]
    other = with_vocabulary(models[1], tmp_path / "prm", "a", "b")
    policy, verifier = findings([*common, f"verifier.path={other}"], tokenizers_found)
    assert marks([policy, verifier]) == ["ok", "wrong"]
    assert "its tokenizer is not the policy's" in verifier.text
    unseen = findings([*common, "policy.path=/nowhere"], tokenizers_found)
    assert marks(unseen) == ["-", "-"]


def test_a_chat_without_a_template(common: list[str]) -> None:
    policy, verifier = findings([*common, "policy.prompt.chat=true"], tokenizers_found)
    assert marks([policy, verifier]) == ["wrong", "ok"]
    assert "no chat template" in policy.text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("qwen_math_prm", r'a score is read at "<extra_0>" ('),
        ("math_shepherd", 'a score is how much likelier " +" ('),
        ("rlhflow_prm", 'a score is how much likelier "+" ('),
        ("skywork_prm", r'a score is read at "\n" ('),
    ],
)
def test_where_a_family_reads_its_scores(
    name: str, told: str, common: list[str], public: Callable[[str], Path]
) -> None:
    folder = public(name)
    words = [*common, "verifier=folder", f"verifier.family={name}", f"verifier.path={folder}"]
    found = findings(words, tokenizers_found)
    assert marks(found) == ["ok", "ok"]
    assert told in found[1].text


def test_a_tag_that_is_not_there(common: list[str], qwen: Path, tmp_path: Path) -> None:
    other = shutil.copytree(qwen, tmp_path / "prm")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        text = (other / file).read_text().replace("<extra_0>", "<extra_9>")
        (other / file).write_text(text)
    words = [*common, "verifier=qwen_math_prm", f"verifier.path={other}"]
    policy, verifier = findings(words, tokenizers_found)
    assert marks([policy, verifier]) == ["ok", "wrong"]
    assert "its tokenizer has no <extra_0>" in verifier.text


@pytest.mark.parametrize(
    ("name", "words", "mark", "told"),
    [
        ("", (), "ok", r'a step ends with "\n"'),
        (
            "",
            ("policy.delimiter=null", "strategies=[beam(n=4)]"),
            "wrong",
            "policy.delimiter = None: beam(n=4,width=4) draw step by step",
        ),
        ("qwen_math_prm", ('policy.delimiter="\\n\\n"',), "ok", r'a step ends with "\n\n", as qwen_math_prm'),
        (
            "qwen_math_prm",
            (),
            "warning",
            r'trained on steps that end with "\n\n", and judges others badly: set policy',
        ),
        ("skywork_prm", (), "ok", r'a step ends with "\n", as skywork_prm'),
        ("math_shepherd", (), "warning", 'begin with "Step 1: " and so on, and nothing in the policy'),
        (
            "math_shepherd",
            ("policy.prompt.template=Step 1: to the last. {question}",),
            "ok",
            'begins with "Step 1: "',
        ),
        ("outcome", ('policy.delimiter="\\n\\n"',), "ok", "outcome takes any"),
        ("trl_prm", ('verifier.separator="\\n\\n"',), "warning", r'set policy.delimiter="\n\n"'),
    ],
)
def test_steps(
    name: str,
    words: tuple[str, ...],
    mark: Mark,
    told: str,
    common: list[str],
    public: Callable[[str], Path],
) -> None:
    if name:
        folder = public(name)
        common = [*common, "verifier=folder", f"verifier.family={name}", f"verifier.path={folder}"]
    [found] = findings(
        [*common, *words], steps_found, settings_found, data_found, files_found, tokenizers_found
    )
    assert found.mark == mark
    assert told in found.text


def test_contexts(common: list[str], models: tuple[Path, Path], tmp_path: Path) -> None:
    [right] = findings(common, contexts_found)
    assert right.mark == "ok"
    assert right.text.endswith("a solution up to 40; policy 256, verifier 256")
    short = with_config(models[0], tmp_path / "policy", max_position_embeddings=45)
    [wrong] = findings([*common, f"policy.path={short}"], contexts_found)
    assert wrong.mark == "wrong"
    assert "exceeds the policy's context of 45; set policy.max_tokens to at most" in wrong.text


def test_one_prompt_that_is_too_long(common: list[str], tmp_path: Path) -> None:
    table = tmp_path / "d.csv"
    table.write_text(f"question,answer\n1 + 2 = ?,3\n{'1 + ' * 200}1 = ?,201\n")
    kept = [word for word in common if not word.startswith("dataset")]
    named = [*kept, "dataset=table", f"dataset.path={table}", "dataset.grader=number"]
    [warning] = findings(named, contexts_found)
    assert warning.mark == "warning"
    assert warning.text.startswith("1 of 2 prompts are left out (quarantined): prompt of ")


def test_a_public_verifiers_own_tokens(common: list[str], qwen: Path, tmp_path: Path) -> None:
    # Its template alone has more tokens than the policy's prompts.
    short = with_config(qwen, tmp_path / "prm", max_position_embeddings=170)
    words = [*common, "verifier=qwen_math_prm", f"verifier.path={short}", "verifier.dtype=float32"]
    warning, told = findings(words, contexts_found)
    assert (warning.mark, told.mark) == ("warning", "ok")
    assert "in the verifier's own tokens the longest question has" in warning.text
    assert marks(findings([*words, f"verifier.path={qwen}"], contexts_found)) == ["ok"]


def test_memory(common: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert [(one.check, one.mark) for one in findings(common, memory_found)] == [
        ("machine", "ok"),
        ("memory", "ok"),
        ("memory", "ok"),
    ]
    monkeypatch.setattr(memory, "machine_memory", lambda: 1000)
    machine, wrong = findings(common, memory_found)
    assert (machine.mark, wrong.mark) == ("ok", "wrong")
    assert "the replicas take" in wrong.text


def test_two_models_on_one_gpu(common: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.cluster.ray_start.gpus_here", lambda: 1)
    monkeypatch.setattr(memory, "gpu_bytes", lambda: 24 << 30)
    shared = [
        *common,
        "cluster.policy.gpus=0.5",
        "cluster.verifier.gpus=0.5",
        "policy.engine=local",
        "verifier.engine=local",
    ]
    machine, policy, verifier = findings(shared, memory_found)
    assert marks([machine, policy, verifier]) == ["ok", "ok", "ok"]
    assert machine.text.endswith("on one GPU policy x 1, verifier x 1, which take 0.90 of its memory")
    assert "with 0.45 of a GPU it needs one of " in policy.text
    crowded = findings([*shared, "cluster.verifier.memory=0.7"], memory_found)
    assert (crowded[0].check, crowded[0].mark) == ("machine", "warning")
    assert "of whose memory they take 1.15 together" in crowded[0].text
    monkeypatch.setattr(memory, "gpu_bytes", lambda: 1000)
    assert marks(findings(shared, memory_found)) == ["ok", "wrong"]


def test_a_machine_of_too_few_processors(common: list[str]) -> None:
    found = findings([*common, "cluster.policy.replicas=4000"], memory_found)
    assert (found[0].check, found[0].mark) == ("machine", "wrong")
    assert "cluster.policy.replicas = 4000: the replicas take" in found[0].text


def test_whatever_else_a_run_refuses(common: list[str]) -> None:
    [right] = findings(common, run_found)
    assert right.mark == "ok"
    assert right.text.endswith("/run is begun")
    [wrong] = findings([*common, "budget.flops=1"], run_found)
    assert wrong.mark == "wrong"
    assert wrong.text.startswith("budget.flops = 1: ")
    [unseen] = findings([*common, "policy.path=/nowhere"], run_found)
    assert unseen.mark == "-"


def test_prompts(common: list[str], models: tuple[Path, Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    before = (settings_found, data_found, files_found, tokenizers_found)
    [right] = findings(common, prompts_found, *before)
    assert right.mark == "ok"
    assert len(right.prompts) == 6
    first = right.prompts[0]
    tokenizer = AutoTokenizer.from_pretrained(models[0])
    assert tokenizer.decode([int(one) for one in first.ids.split(" ... ")[0].split()]) in json.loads(
        first.text
    )
    broken = shutil.copytree(models[0], tmp_path / "chat")
    (broken / "chat_template.jinja").write_text("{{ raise_exception('no turn of this kind') }}")
    [wrong] = findings([*common, f"policy.path={broken}", "policy.prompt.chat=true"], prompts_found, *before)
    assert wrong.mark == "wrong"
    assert "no turn of this kind" in wrong.text
    begin = tokenizer.bos_token
    [warning] = findings([*common, f"policy.prompt.template={begin}{{question}}"], prompts_found, *before)
    assert warning.mark == "warning"
    assert f'they begin with "{begin}" twice' in warning.text
    [unseen] = findings([*common, "policy.path=/nowhere"], prompts_found, *before)
    assert unseen.mark == "-"


BEFORE = (settings_found, data_found, files_found, tokenizers_found, prompts_found)


def inverted(folder: Path, to: Path) -> Path:
    """A verifier of flopwise whose head says the opposite."""
    shutil.copytree(folder, to)
    weights = load_file(to / "value_head.safetensors")
    out = [name for name in weights if weights[name].shape[0] == 1]
    assert len(out) == 2, "weight and bias of one value"
    save_file(
        {name: -one if name in out else one for name, one in weights.items()}, to / "value_head.safetensors"
    )
    return to


@pytest.mark.parametrize("domain", ["countdown", "arithmetic"])
def test_a_pair_of_the_data_set(domain: str, tmp_path: Path) -> None:
    words = [f"domain={domain}", "dataset.count=40", f"folder={tmp_path / 'run'}"]
    [right] = findings(words, pair_found, *BEFORE)
    assert right.mark == "ok"
    assert right.text.startswith("right solutions score above wrong ones in 7 of 7 pairs of the data set (")
    other = inverted(MODELS / domain / "prm", tmp_path / "prm")
    [warning] = findings([*words, f"verifier.path={other}"], pair_found, *BEFORE)
    assert warning.mark == "warning"
    assert "in 0 of 7 pairs of the data set" in warning.text
    assert "the class of its score may be inverted" in warning.text
    # What was scored is shown, each step with its score.
    question, right_steps, scores, *_ = warning.details
    assert question
    assert right_steps.count(" | ") == scores.count(" | ")


@pytest.mark.parametrize("name", ["qwen_math_prm", "math_shepherd", "outcome"])
def test_of_a_public_verifier_and_its_inverse_one_is_warned_of(
    name: str, common: list[str], public: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(public(name), tmp_path / "prm")
    words = [*common, "verifier=folder", f"verifier.family={name}", f"verifier.path={folder}"]
    [one] = findings(words, pair_found, *BEFORE)
    weights = load_file(folder / "model.safetensors")
    for key in weights:
        if key in ("score.weight", "score.bias", "score.2.weight", "score.2.bias", "lm_head.weight"):
            weights[key] = -weights[key]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    [other] = findings(words, pair_found, *BEFORE)
    above = [int(found.text.split(" in ")[1].split(" of ")[0]) for found in (one, other)]
    assert sum(above) == len(WRITTEN)
    assert [found.mark for found in (one, other)] == ["ok" if count >= 6 else "warning" for count in above]
    warning = (one, other)[above[0] > above[1]]
    assert "pairs written for this" in warning.text
    assert "or it is of another family than verifier.family says" in warning.text


def test_a_policy_behind_an_address_draws_there(server: ServerProcess, tmp_path: Path) -> None:
    """Trap: its folder may have no weights, and who loads them here needs them."""
    folder = shutil.copytree(MODELS / "arithmetic" / "policy", tmp_path / "behind")
    url = server.serve("examined", MODELS / "arithmetic" / "policy")
    (folder / "model.safetensors").unlink()
    words = ["domain=arithmetic", "dataset.count=3", "strategies=[greedy]", f"folder={tmp_path / 'run'}"]
    words += [f"policy.path={folder}", "policy.engine=http", f"policy.url={url}"]
    [found] = findings(words, generation_found, *BEFORE)
    assert found.mark == "ok", found.text
    assert f", by {url}" in found.text


@pytest.mark.parametrize(
    ("above", "mark"), [(7, "ok"), (6, "ok"), (5, "warning"), (4, "warning"), (3, "warning")]
)
def test_what_a_coin_often_tells_is_not_taken_for_a_verifiers_word(above: int, mark: str) -> None:
    told = [((0.2, 0.9), (0.2, 0.1))] * above + [((0.2, 0.1), (0.2, 0.9))] * (7 - above)
    found = _judged(told, WRITTEN, written=True, family=True, said="")
    assert found.mark == mark
    assert ("a coin reaches that in " in found.text) == (above in (4, 5))
    assert ("may be inverted" in found.text) == (above == 3)


@pytest.mark.parametrize("pair", WRITTEN, ids=lambda pair: pair.right[-1])
def test_written_solutions_say_what_they_do(pair: Pair) -> None:
    """The right one reckons rightly in each step, the wrong one ends elsewhere."""
    for step in pair.right:
        for left, right in re.findall(r"([\d.]+ [-+*/] [\d.]+) = ([\d.]+)", step):
            first, sign, second = left.split()
            value = {"+": float(first) + float(second), "-": float(first) - float(second),
                     "*": float(first) * float(second), "/": float(first) / float(second)}[sign]  # fmt: skip
            assert value == pytest.approx(float(right.rstrip(".")))
    assert pair.right[-1] != pair.wrong[-1]
    assert len(pair.right) == len(pair.wrong)


def test_a_public_verifier_is_tried_without_a_policy(common: list[str], qwen: Path) -> None:
    words = [*common, "policy.path=/nowhere", "verifier=qwen_math_prm", f"verifier.path={qwen}"]
    [found] = findings(words, pair_found, *BEFORE)
    assert found.mark in ("ok", "warning")
    assert "of 7 pairs written for this" in found.text


@pytest.mark.parametrize(
    ("name", "save", "told"),
    [
        ("thinkprm", save_thinkprm, r'how much likelier " yes" \(\d+\) is than " no" \(\d+\) behind "\?"'),
        ("genprm", save_genprm, r'how much likelier "Yes" \(\d+\) is than "No" \(\d+\) behind "{"'),
    ],
)
def test_of_a_judge_that_writes_its_verdict_is_told_and_no_pair_tried(
    name: str, save: Callable[[Path], Path], told: str, common: list[str], tmp_path: Path
) -> None:
    folder = save(tmp_path / "model")
    words = [*common, f"verifier={name}", f"verifier.path={folder}", "verifier.max_tokens=20"]
    found = findings(words, tokenizers_found)
    assert marks(found) == ["ok", "ok"]
    assert re.search(told, found[1].text)
    [pair] = findings(words, pair_found, *BEFORE)
    assert pair.mark == "-"
    assert "writes before it scores" in pair.text


def test_scores_that_are_no_numbers(common: list[str], qwen: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(qwen, tmp_path / "prm")
    weights = load_file(folder / "model.safetensors")
    weights["score.2.bias"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    [found] = findings([*common, "verifier=qwen_math_prm", f"verifier.path={folder}"], pair_found, *BEFORE)
    assert found.mark == "wrong"
    assert "are no numbers" in found.text


def test_generation(common: list[str], models: tuple[Path, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    [dull] = findings(common, generation_found, *BEFORE)
    assert dull.mark == "warning", "a random model has nothing to say"
    assert "one token again and again: look at the prompts above" in dull.text
    bundled = ["domain=arithmetic", "dataset.count=6", f"folder={tmp_path / 'run'}"]
    [right] = findings(bundled, generation_found, *BEFORE)
    assert right.mark == "ok"
    # The same as transformers' own, after the shortest prompt.
    case = Case(settings_of(bundled))
    for check in BEFORE:
        list(check(case))
    ids, folder = min(case.ids, key=len), MODELS / "arithmetic" / "policy"
    model = AutoModelForCausalLM.from_pretrained(folder)
    drawn = model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0, len(ids) :]
    text = AutoTokenizer.from_pretrained(folder).decode(drawn)
    assert right.text.startswith(json.dumps(text, ensure_ascii=False))
    broken = shutil.copytree(models[0], tmp_path / "policy")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    [wrong] = findings([*common, f"policy.path={broken}"], generation_found, *BEFORE)
    assert wrong.mark == "wrong"
    assert "the policy draws nothing: " in wrong.text


def test_what_does_not_fit_is_not_loaded(common: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "free_memory", lambda: 1000)
    for check in (pair_found, generation_found):
        [found] = findings(common, check, *BEFORE)
        assert found.mark == "-"
        assert "it is not loaded here, for it takes " in found.text
        assert found.text.endswith("and 1.0 kB of this machine's memory are free")


def test_all_that_is_wrong_is_told_at_once(
    common: list[str], models: tuple[Path, Path], tmp_path: Path
) -> None:
    bare = shutil.copytree(models[1], tmp_path / "prm")
    (bare / "config.json").unlink()
    words = [
        *common,
        f"verifier.path={bare}",
        "dataset=table",
        "dataset.path=/nowhere.csv",
        "strategies=[gredy]",
    ]
    kept = [word for word in words if not word.startswith("dataset.count")]
    found = list(checkup(settings_of(kept)))
    assert [one.check for one in found if one.mark == "wrong"] == ["settings", "data", "files"]
    seen = {one.check: one.mark for one in found if one.check in ("prompts", "pair", "generation", "run")}
    assert seen == dict.fromkeys(seen, "-")
