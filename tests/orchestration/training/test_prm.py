"""The verifier's making, from a policy to a folder that scores, at a hundredth of its size; and its labels by hand."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from actors.engines.base import ScoreRequest, Scores
from actors.engines.local.verifier import ScoringEngine
from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from actors.errors import UserError
from actors.store.schema import CANDIDATES
from orchestration.runs.run import Run
from orchestration.setup.prepare import Prepared
from orchestration.training import job as prm_job
from orchestration.training import measures, prm, sampling
from orchestration.training.batches import Labelled, StepBatches
from orchestration.training.checkpoints import claim
from orchestration.training.job import PrmJob, Sampled, make_prm, sampling_settings
from orchestration.training.policy import PolicyShape, PolicyTraining, train_policy
from orchestration.training.prm import PrmTraining, train_prm
from orchestration.training.sides import check_values, split
from orchestration.training.step_data import Drawn, held_out, labelled_solutions
from orchestration.training.trainer import BatchTrainer
from tests.support.here import without_ray

EASY: dict[str, Any] = {"legs": [1, 2], "counts": [1, 5], "sums": 0.0}


def row(index: int, ids: list[int], ends: list[int], correct: bool, **more: Any) -> dict[str, Any]:
    base = {
        "key": "k",
        "problem_id": "p",
        "strategy": "monte_carlo",
        "seed": 0,
        "index": index,
        "parent": -1,
        "depth": 0,
        "token_ids": ids,
        "step_tokens": ends,
        "finish_reason": "eos",
        "answer": "7",
        "correct": correct,
        "kept": True,
    }
    return base | more


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=CANDIDATES)


def test_labels_are_shares_of_correct_rollouts_and_the_last_is_the_answer() -> None:
    rollouts = [
        row(4 + i, [1, 2, 9, 9 + i], [2, 4], good, kept=False, parent=0, depth=1)
        for i, good in enumerate([True, False, False, False])
    ]
    [one] = labelled_solutions(table(row(0, [1, 2, 3, 4], [2, 4], True), *rollouts))
    assert one.labels == (0.25, 1.0)
    assert one.correct


def test_a_prefix_that_two_samples_share_shares_its_rollouts() -> None:
    rollout = row(5, [1, 2, 8], [2, 3], False, kept=False, parent=0, depth=1)
    first, second = labelled_solutions(
        table(row(0, [1, 2, 3], [2, 3], True), row(1, [1, 2, 4], [2, 3], False), rollout)
    )
    assert (first.labels, second.labels) == ((0.0, 1.0), (0.0, 0.0))


def test_without_rollouts_steps_take_the_answers_of_the_samples_through_them() -> None:
    samples = [row(0, [1, 2, 3], [2, 3], True), row(1, [1, 2, 4], [2, 3], False), row(2, [5, 6], [2], False)]
    assert [one.labels for one in labelled_solutions(table(*samples))] == [(0.5, 1.0), (0.5, 0.0), (0.0,)]


def test_unreadable_and_cut_off_samples_label_nothing_and_copies_count_once() -> None:
    rows = [
        row(0, [1, 2], [2], False, answer=None),
        row(1, [1, 3], [2], False, finish_reason="length"),
        row(2, [1, 4], [2], True),
        row(3, [1, 4], [2], True),
    ]
    assert [one.token_ids for one in labelled_solutions(table(*rows))] == [(1, 4)]


def test_a_prompts_label_is_the_share_of_all_samples_that_are_right() -> None:
    rows = [
        row(0, [1, 2], [2], True),
        row(1, [1, 3], [2], False),
        row(2, [1, 2], [2], True),
        # They label no step, and were drawn all the same.
        row(3, [1, 4], [2], False, answer=None),
        row(4, [1, 5], [2], False, finish_reason="length"),
        # What a search rolled out or gave up is no sample of the prompt.
        row(5, [1, 2, 8], [2, 3], True, kept=False, parent=0, depth=1),
    ]
    first, second = labelled_solutions(table(*rows))
    assert (first.prompt_label, second.prompt_label) == (0.4, 0.4)


def test_a_batch_has_the_prompts_end_before_those_of_the_steps() -> None:
    whole = Labelled((7, 8, 1, 2, 3), 2, (4, 5), (0.5, 1.0), True, "p", 0.25)
    short = Labelled((7, 1), 1, (2,), (0.0,), False, "q")
    batches = StepBatches([whole, short], 64, 0, 0)
    batch = batches[0]
    rows = {one.problem_id: place for place, one in enumerate(batches.members(0))}
    assert batch["ends"][rows["p"]].tolist() == [1, 3, 4]
    assert batch["targets"][rows["p"]].tolist() == [0.25, 0.5, 1.0]
    assert batch["ends"][rows["q"]].tolist()[:2] == [0, 1]
    # Without a label, and without a second step.
    assert batch["targets"][rows["q"]].isnan().tolist() == [True, False, True]


def test_a_problem_that_two_parts_met_has_one_label_whatever_the_order() -> None:
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model: Any = LlamaForCausalLM(LlamaConfig(vocab_size=16, **shape))
    model.value_head = ValueHead(ValueHeadConfig(hidden_size=8, width=0))
    rows = [
        Labelled((first, 1, 2), 1, (3,), (label,), label > 0.5, f"p{first}", label)
        for first, labels in ((5, (0.0, 0.75)), (6, (1.0, 0.25, 0.25)), (7, (0.4, 0.4)), (8, (0.1, 0.8)))
        for label in labels
    ]
    told = [measures.measure(model, StepBatches(rows, 6, 0, seed))["prompts"] for seed in range(4)]
    assert [one["count"] for one in told] == [4] * 4
    assert [one["mean_label"] for one in told] == pytest.approx([(0.375 + 0.5 + 0.4 + 0.45) / 4] * 4)
    assert len({one["rank_correlation"] for one in told}) == 1


def test_held_out_is_a_share_that_never_changes_sides() -> None:
    ids = [f"p{i}" for i in range(4000)]
    small = {i for i in ids if held_out(i, 0.1, 0)}
    assert 300 < len(small) < 500
    assert small < {i for i in ids if held_out(i, 0.2, 0)}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("policy")
    shape = PolicyShape(width=64, layers=2, heads=4, feed_forward=128, context=128)
    train_policy(
        PolicyTraining(
            dataset="arithmetic",
            options=EASY,
            shape=shape,
            vocabulary=400,
            tokenizer_problems=1000,
            problems=12_000,
            validation_problems=50,
            tokens_per_step=2048,
            save_every=1000,
        ),
        output,
    )
    return output


@pytest.fixture(scope="module")
def job(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> PrmJob:
    return PrmJob(
        policy=str(policy),
        dataset="arithmetic",
        options=EASY,
        max_tokens=80,
        parts=(
            Sampled(60, 1, "majority(n=4)", "language"),
            Sampled(20, 2, "monte_carlo(samples=4,rollouts=2)"),
        ),
        replicas=1,
        runs=str(tmp_path_factory.mktemp("runs")),
        training=PrmTraining(
            width=16, value_epochs=4, tokens_per_step=1024, save_every=5, held_out_share=0.3
        ),
    )


def test_from_policy_to_a_verifier_that_scores_and_a_second_start_samples_nothing(
    job: PrmJob, tmp_path: Path
) -> None:
    said: list[str] = []
    with without_ray():
        measures = make_prm(job, tmp_path / "prm", say=said.append)
    losses = measures["held_out_losses"]
    assert 1 <= len(losses) <= job.training.value_epochs
    assert [line for line in said if line.startswith("value stage: epoch ")] == [
        f"value stage: epoch {number} of at most 4, held-out loss {loss:.4f}"
        for number, loss in enumerate(losses, start=1)
    ]
    assert measures["prompts"]["count"] > 0
    assert 0 <= measures["prompts"]["mean_label"] <= 1
    assert measures["questions_with_both"] > 0
    assert 0 <= measures["auroc_within_question"] <= 1
    assert measures["calibration"][0]["step"] == 1
    scores = asyncio.run(scored(tmp_path / "prm", ScoreRequest((0, 5, 6, 7, 8), 2, (4, 5))))
    assert all(0 < value < 1 for value in scores.values)
    assert scores.prompt is not None
    assert 0 < scores.prompt < 1

    sampled = [Run(Path(sampling_settings(job, n).folder)) for n in range(2)]
    before = [sorted(run.folder.rglob("*.parquet")) for run in sampled]
    again = make_prm(job, tmp_path / "again")
    assert [sorted(run.folder.rglob("*.parquet")) for run in sampled] == before
    assert again == measures


async def scored(folder: Path, request: ScoreRequest) -> Scores:
    engine = ScoringEngine.load(folder)
    scores = await engine.score(request)
    await engine.close()
    return scores


def test_what_no_stage_reads_is_not_sampled(
    job: PrmJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[str] = []
    read: list[int] = []

    class Nothing:
        def candidates(self) -> pa.Table:
            return table()

    def sample(prepared: Prepared, on_progress: object) -> Nothing:
        sampled.append(Path(prepared.settings.folder).name)
        return Nothing()

    def train(
        _: object, __: object, language: list[pa.Table], value: list[pa.Table], *___: object
    ) -> dict[str, Any]:
        read.extend((len(language), len(value)))
        return {}

    monkeypatch.setattr(prm_job, "draw", sample)
    monkeypatch.setattr(prm_job, "train_prm", train)
    make_prm(job, tmp_path)
    assert (sampled, read) == (["part-0", "part-1"], [2, 1])
    sampled.clear()
    make_prm(replace(job, training=replace(job.training, language_weight=0)), tmp_path)
    assert sampled == ["part-1"]


def test_plain_prompts_to_a_chat_model_are_told(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(policy, tmp_path / "chat")
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    said: list[str] = []

    def stop(_: object) -> None:
        raise LookupError

    monkeypatch.setattr(sampling, "prepare", stop)
    for one, chat in ((policy, False), (folder, True), (folder, False)):
        assert said == []
        with pytest.raises(LookupError):
            make_prm(PrmJob(str(one), "arithmetic", chat=chat), tmp_path / "out", say=said.append)
    assert said[0].startswith("chat is false, and the policy's tokenizer has a chat template: ")


def test_a_chat_models_prompt_is_sampled_as_it_is_evaluated() -> None:
    prompt = sampling_settings(
        PrmJob("p", "gcd", prompt="Q: {question}", chat=True, system="Think."), 0
    ).policy.prompt
    assert (prompt.template, prompt.chat, prompt.system) == ("Q: {question}", True, "Think.")
    shown = sampling_settings(PrmJob("p", "gcd", shots=4, examples="e.csv", examples_seed=3), 0).policy.prompt
    assert (shown.shots, shown.examples, shown.examples_seed) == (4, "e.csv", 3)
    options = {"enable_thinking": False}
    job = PrmJob("p", "gcd", chat=True, chat_options=options)
    assert sampling_settings(job, 0).policy.prompt.chat_options == options


def _prompts(run: Run) -> dict[str, tuple[int, ...]]:
    return {problem: (0, 5) for problem in run.candidates()["problem_id"].to_pylist()}


def test_the_plain_recipe_trains_the_backbone_by_cross_entropy_alone(
    job: PrmJob, policy: Path, tmp_path: Path
) -> None:
    run = Run(Path(sampling_settings(job, 1).folder))
    plain = replace(
        job.training, language_weight=0, likelihood=False, width=0, train_backbone=True, value_epochs=2
    )
    train_prm(plain, policy, [], [run.candidates()], _prompts(run), tmp_path)
    head = json.loads((tmp_path / "value_head.json").read_text())
    assert (head["hidden"], head["likelihood"], head["width"]) == (True, False, 0)
    assert (tmp_path / "model.safetensors").read_bytes() != (policy / "model.safetensors").read_bytes()


def test_the_head_alone_leaves_the_backbone_as_it_was(job: PrmJob, policy: Path, tmp_path: Path) -> None:
    run = Run(Path(sampling_settings(job, 1).folder))
    train_prm(
        replace(job.training, language_weight=0, value_epochs=1),
        policy,
        [],
        [run.candidates()],
        _prompts(run),
        tmp_path,
    )
    from safetensors.torch import load_file

    before, after = load_file(policy / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_another_training_does_not_go_on_from_these_checkpoints(
    job: PrmJob, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = Run(Path(sampling_settings(job, 1).folder)).candidates()
    settings = replace(job.training, language_weight=0, value_epochs=1, save_every=1)

    def start(settings: PrmTraining, candidates: pa.Table) -> None:
        prompts = {problem: (0, 5) for problem in candidates["problem_id"].to_pylist()}
        train_prm(settings, policy, [], [candidates], prompts, tmp_path)

    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(prm, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(settings, candidates)
    with pytest.raises(UserError, match="with other value_lr, width was interrupted"):
        start(replace(settings, width=8, value_lr=0.1), candidates)
    problems = candidates["problem_id"]
    with pytest.raises(UserError, match="with other samples was interrupted"):
        start(settings, candidates.filter(pc.not_equal(problems, problems[0])))
    start(settings, candidates)
    assert not (tmp_path / "checkpoints").exists()


def test_an_interrupted_value_stage_ends_where_an_uninterrupted_one_does(
    job: PrmJob, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = Run(Path(sampling_settings(job, 1).folder)).candidates()
    prompts = {problem: (0, 5) for problem in candidates["problem_id"].to_pylist()}
    settings = replace(
        job.training,
        language_weight=0.3,
        train_backbone=True,
        value_epochs=3,
        save_every=2,
        tokens_per_step=256,
    )

    def start(folder: Path) -> dict[str, Any]:
        return train_prm(settings, policy, [], [candidates], prompts, folder)

    whole, steps = start(tmp_path / "whole"), 0
    original = BatchTrainer.training_step

    def interrupted(self: BatchTrainer, *args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:  # within the first epoch, behind a checkpoint
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(BatchTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / "parts")
    assert [path.name for path in (tmp_path / "parts" / "checkpoints" / "value").iterdir()] == [
        "checkpoint-2"
    ]
    assert start(tmp_path / "parts") == whole
    for name in ("model.safetensors", "value_head.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_loss_that_still_falls_in_the_last_epoch_is_told(
    job: PrmJob, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = Run(Path(sampling_settings(job, 1).folder)).candidates()
    prompts = {problem: (0, 5) for problem in candidates["problem_id"].to_pylist()}
    settings = replace(job.training, language_weight=0, value_epochs=2)
    for flat, told in ((0.0, True), (1.0, False)):
        said: list[str] = []
        monkeypatch.setattr(prm, "_FLAT", flat)
        measured = train_prm(settings, policy, [], [candidates], prompts, tmp_path / str(flat), said.append)
        falls = measured["held_out_losses"][-1] < measured["held_out_losses"][-2]
        assert any("still fell in the last epoch" in line for line in said) is (told and falls)
    assert falls


def test_checkpoints_without_an_owner_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    with pytest.raises(UserError, match="nobody knows"):
        claim(tmp_path, {"seed": 0})


def test_batches_go_where_the_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(torch.nn.Module):
        device = torch.device("meta")
        value_head = ValueHead(ValueHeadConfig(8))

    seen: list[str] = []

    def look(_: object, batch: dict[str, torch.Tensor]) -> None:
        seen.extend(tensor.device.type for tensor in batch.values())
        raise LookupError

    monkeypatch.setattr(prm, "step_logits", look)
    monkeypatch.setattr(measures, "step_logits", look)
    batches = StepBatches([Labelled((1, 2, 3), 1, (3,), (1.0,), True, "p")], 64, 0, 0)
    for judge in (measures.measure, prm._standardise):
        with pytest.raises(LookupError):
            judge(Elsewhere(), batches)
    assert set(seen) == {"meta"}


@pytest.mark.gpu
def test_a_verifier_is_trained_on_a_gpu(job: PrmJob, policy: Path, tmp_path: Path) -> None:
    runs = [Run(Path(sampling_settings(job, number).folder)).candidates() for number in range(2)]
    prompts = {problem: (0, 5) for run in runs for problem in run["problem_id"].to_pylist()}
    measures = train_prm(job.training, policy, runs, runs[1:], prompts, tmp_path)
    assert 0 <= measures["auroc_within_question"] <= 1


def sampled(right: list[int], wrong: list[int], **more: Any) -> tuple[pa.Table, dict[str, tuple[int, ...]]]:
    """A right sample of some problems, by number, and a wrong one of others; and the prompts."""
    rows = [row(0, [1, 2], [2], True, problem_id=f"p{i}", **more) for i in right]
    rows += [row(1, [1, 3], [2], False, problem_id=f"p{i}", **more) for i in wrong]
    return table(*rows), {one["problem_id"]: (0,) for one in rows}


KEPT = [i for i in range(60) if not held_out(f"p{i}", 0.3, 0)]
HELD = [i for i in range(60) if held_out(f"p{i}", 0.3, 0)]


@pytest.mark.parametrize(
    ("right", "wrong", "left"),
    [
        (KEPT + HELD, [], "0 wrong to train on"),
        (KEPT[:9] + HELD[:4], KEPT[:3], "9 right and 3 wrong to train on, 4 right and 0 wrong held out"),
        (KEPT[:9], KEPT + HELD[:4], "0 right and 4 wrong held out"),
        (KEPT, KEPT, "0 right and 0 wrong held out"),
    ],
)
def test_too_few_samples_of_a_kind_on_a_side_are_refused_before_a_model_is_loaded(
    right: list[int], wrong: list[int], left: str, tmp_path: Path
) -> None:
    candidates, prompts = sampled(right, wrong)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    settings = PrmTraining(held_out_share=0.3)
    with pytest.raises(
        UserError, match=r"^parts: too few samples for the value stage \(.*" + left + "[^\n]*$"
    ):
        train_prm(settings, tmp_path, [], [candidates], prompts, tmp_path / "out")


def test_a_language_stage_without_a_right_sample_is_refused(tmp_path: Path) -> None:
    candidates, prompts = sampled(KEPT + HELD, KEPT + HELD)
    wrong, _ = sampled([], KEPT + HELD)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match=r"language stage \(0 right to train on, 0 right held out\)"):
        train_prm(PrmTraining(held_out_share=0.3), tmp_path, [wrong], [candidates], prompts, tmp_path / "out")


def test_what_became_of_every_sample_is_told() -> None:
    rows = [
        row(0, [1, 2], [2], False, answer=None),
        row(1, [1, 3], [2], False, finish_reason="length", answer=None),
        row(2, [1, 4], [2], True),
        row(3, [1, 4], [2], True),
        row(4, [1], [], True),
        row(5, [1, 5], [2], False, finish_reason="length"),
        row(6, [1, 2, 8], [2, 3], False, kept=False, parent=2, depth=1),
    ]
    drawn = Drawn()
    assert len(list(labelled_solutions(table(*rows), drawn))) == 1
    assert str(drawn) == (
        "6 samples, 1 of them used; dropped: 2 cut off at max_tokens, 1 without a readable answer, "
        "1 equal to another of their problem, 1 without a step"
    )


def test_the_mend_fits_what_most_samples_were_dropped_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for more, mend in (({"finish_reason": "length"}, "raise max_tokens"), ({"answer": None}, "grader")):
        candidates, prompts = sampled(KEPT + HELD, KEPT, **more)
        said: list[str] = []
        with pytest.raises(UserError, match=mend):
            train_prm(PrmTraining(), tmp_path, [], [candidates], prompts, tmp_path / "out", said.append)
        assert said[0].startswith("value stage: ")
        assert "0 of them used; dropped: " in said[0]


def test_solutions_of_one_step_are_told() -> None:
    candidates, prompts = sampled(KEPT + HELD, KEPT + HELD)
    said: list[str] = []
    check_values(split([candidates], prompts, 64, 0.3, 0), said.append)
    assert said[1].startswith("120 of these 120 samples are of one step only: ")


def test_a_head_that_reads_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="must read"):
        ValueHeadConfig(8, hidden=False, likelihood=False)
