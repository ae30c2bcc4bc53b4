"""What the verifier of revisions learns from: each answer of a chain, behind the attempts that its reviser had read."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from actors.engines.verifiers.value_head import HEAD_WEIGHTS
from actors.errors import UserError
from actors.store.schema import CANDIDATES
from orchestration.problems.revising import RevisionFormat, trained_format
from orchestration.training.batches import Labelled, Shown, training_rows
from orchestration.training.orm_job import OrmJob, make_orm
from orchestration.training.prm import PrmTraining, train_prm
from orchestration.training.sides import split
from orchestration.training.step_data import Drawn, labelled_answers
from tests.support.chains import attempt, write_chains
from tests.support.model_folders import EOS, Folder, tokenizer_of


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=CANDIDATES)


def test_each_answer_stands_behind_those_of_its_chain_and_is_labelled_by_itself() -> None:
    found = list(
        labelled_answers(
            table(
                attempt(0, [10, 11], False),
                attempt(1, [12, 13], True, parent=0),
                attempt(2, [14, 15], False, parent=1),
                attempt(3, [10, 11], False),
                attempt(4, [12, 13], True, parent=3),
                attempt(0, [30], True, key="another outcome"),
            )
        )
    )
    told = [
        ([ids[0] for ids in one.earlier], one.token_ids[0], one.labels, one.prompt_label) for one in found
    ]
    assert told == [
        ([], 10, (0.0, 0.0), 0.0),
        ([10], 12, (1.0, 1.0), 1.0),
        ([10, 12], 14, (0.0, 0.0), 0.0),
        # Equal to the first chain's, attempts and all: once. In another outcome the same index is another attempt.
        ([], 30, (1.0,), 1.0),
    ]


def test_what_cannot_be_read_or_was_cut_off_labels_nothing_and_was_shown_to_none() -> None:
    drawn = Drawn()
    rows = [
        attempt(0, [10], False),
        attempt(1, [11], False, parent=0, finish_reason="length"),
        attempt(2, [12], False, parent=1, answer=None),
        attempt(3, [13], True, parent=2),
        # A branch of a search shares steps with its parent: no link of a chain.
        attempt(4, [10, 14], True, parent=0, depth=1),
        attempt(5, [15], True, parent=0, kept=False),
    ]
    found = list(labelled_answers(table(*rows), drawn))
    assert [([ids[0] for ids in one.earlier], one.token_ids[:-1]) for one in found] == [
        ([], (10,)),
        ([10], (13,)),
        ([], (10, 14)),
    ]
    assert str(drawn) == (
        "5 samples, 3 of them used; dropped: 1 cut off at max_tokens, 1 without a readable answer"
    )


def test_a_row_begins_as_the_reviser_was_shown_it() -> None:
    revising = RevisionFormat().bind(tokenizer_of("byte-level"), [EOS], chat=False)
    shown = Shown(revising, room=20)
    solved = list(labelled_answers(table(attempt(0, [10, 11], False), attempt(1, [12, 13], True, parent=0))))
    first, second = training_rows(solved, {"p": (20, 21)}, 64, shown)
    assert first.ids == (20, 21, 10, 11, EOS)
    assert second.ids == (10, 11, EOS, 20, 21, 12, 13, EOS)
    assert (second.prompt, second.ends, second.labels) == (5, (6, 7), (1.0, 1.0))
    assert second.ids[: second.prompt] == revising.context((20, 21), [(10, 11)])


def test_it_is_trained_on_what_chains_showed(tmp_path: Path) -> None:
    """Which answer is right stands in the attempts alone: equal answers behind other attempts have other labels."""
    base = Folder("small").save(tmp_path / "base")
    rows, prompts = [], {}
    for number in range(24):
        name = f"p{number}"
        prompts[name] = (20, 21)
        for chain in (0, 1):
            told = {"key": name, "problem_id": name}
            rows.append(attempt(2 * chain, [30 + chain], False, **told))
            rows.append(attempt(2 * chain + 1, [50], chain == 0, parent=2 * chain, **told))
    shown = Shown(RevisionFormat().bind(tokenizer_of("byte-level"), [EOS], chat=False), room=32)
    settings = PrmTraining(
        language_weight=0.0,
        likelihood=False,
        width=0,
        train_backbone=True,
        backbone_lr=0.01,
        value_lr=0.01,
        value_epochs=8,
        held_out_share=0.3,
        tokens_per_step=256,
    )
    measures = train_prm(settings, base, [], [table(*rows)], prompts, tmp_path / "orm", shown=shown)
    assert measures["auroc"] > 0.95
    # Read alone, the same answers are alike.
    sides = split([table(*rows)], prompts, 64, 0.3, 0, shown)
    last: dict[float, list[Labelled]] = {0.0: [], 1.0: []}
    for row in sides.kept + sides.held:
        if 50 in row.ids[row.prompt :]:
            last[row.labels[-1]].append(row)
    assert last[0.0]
    assert {row.ids[row.prompt :] for row in last[0.0]} == {row.ids[row.prompt :] for row in last[1.0]}


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and a run of training problems in which it is said to have drawn two chains of two for each."""
    folder = tmp_path_factory.mktemp("chains")
    policy = Folder("small", config=(("max_position_embeddings", 512),)).save(folder / "policy")
    write_chains(folder / "run", policy)
    return policy, folder / "run"


def test_from_runs_of_chains_to_a_verifier_that_knows_the_format(
    chains: tuple[Path, Path], tmp_path: Path
) -> None:
    policy, run = chains
    training = PrmTraining(language_weight=0.0, width=4, value_epochs=1, held_out_share=0.3)
    shown = RevisionFormat(first=True)
    measures = make_orm(OrmJob(str(policy), [str(run)], shown, training), tmp_path / "orm")
    assert measures["value_solutions"] + measures["held_out_solutions"] == 16 * 4
    assert trained_format(tmp_path / "orm") == shown
    assert (tmp_path / "orm" / "value_head.json").is_file()


def test_it_goes_on_from_a_verifier_that_has_read_no_attempts(
    chains: tuple[Path, Path], tmp_path: Path
) -> None:
    policy, run = chains
    shape = {"language_weight": 0.0, "width": 4, "value_epochs": 1, "held_out_share": 0.3}
    still = PrmTraining(**shape, value_lr=0.0, backbone_lr=0.0)
    make_orm(OrmJob(str(policy), [str(run)], training=PrmTraining(**shape)), tmp_path / "first")
    (tmp_path / "first" / "revision.json").unlink()
    begun = OrmJob(str(policy), [str(run)], training=still, start=str(tmp_path / "first"))
    make_orm(begun, tmp_path / "second")
    first, second = (load_file(tmp_path / name / HEAD_WEIGHTS) for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert trained_format(tmp_path / "second") == RevisionFormat()
    # A head of another shape, tokens of another model, and no verifier at all.
    wide = dataclasses.replace(begun, training=PrmTraining(**shape | {"width": 8}))
    with pytest.raises(UserError, match=r"^training\.width = 8: the verifier in start has 4"):
        make_orm(wide, tmp_path / "third")
    with pytest.raises(UserError, match=r"^start = '.*policy': it is no verifier of flopwise's own"):
        make_orm(dataclasses.replace(begun, start=str(policy)), tmp_path / "third")
    with pytest.raises(UserError, match=r"^start = 'bundled/countdown': its tokenizer is another one than"):
        make_orm(dataclasses.replace(begun, start="bundled/countdown"), tmp_path / "third")
    assert not (tmp_path / "third" / "model.safetensors").exists()


def test_runs_of_another_reviser_or_of_test_problems_are_refused(
    chains: tuple[Path, Path], tmp_path: Path
) -> None:
    policy, run = chains
    other = Folder("small", config=(("max_position_embeddings", 256),)).save(tmp_path / "other")
    with pytest.raises(
        UserError, match=rf"^runs = '{run}': another reviser drew its candidates, not {other}"
    ):
        make_orm(OrmJob(str(other), [str(run)]), tmp_path / "orm")
    with pytest.raises(UserError, match=r"^runs = \[\]: name the runs"):
        make_orm(OrmJob(str(policy)), tmp_path / "orm")
    copy = shutil.copytree(run, tmp_path / "test")
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("split: train", "split: test"))
    with pytest.raises(UserError, match=rf"^runs = '{copy}': it solves problems of the split test"):
        make_orm(OrmJob(str(policy), [str(copy)]), tmp_path / "orm")
    with pytest.raises(UserError, match=r"^runs = '.*gone': no run there"):
        make_orm(OrmJob(str(policy), [str(tmp_path / "gone")]), tmp_path / "orm")
    config.write_text(
        config.read_text().replace("split: test", "split: train").replace("count: 16", "count: 0")
    )
    with pytest.raises(
        UserError, match=rf"^runs = '{copy}': its set-up cannot be read again \(dataset\.count"
    ):
        make_orm(OrmJob(str(policy), [str(copy)]), tmp_path / "orm")
    assert not (tmp_path / "orm").exists()
