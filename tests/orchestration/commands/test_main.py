"""The command line as a user meets it: help, mistakes, dry run, and how soon it answers."""

import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.commands.main import main
from tests.support.handmade import add_seed, write_run
from tests.support.imports import loaded_by


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    return " ".join(captured.out.split()), " ".join(captured.err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evalute"], "unknown command 'evalute' (did you mean 'evaluate'?)"),
        (["evaluate", "--dryrun"], "did you mean '--dry-run'?"),
        (["evaluate", "dataset.cuont=3"], "did you mean 'dataset.count'?"),
        (["evaluate", "dataset=tabel"], "did you mean 'table'?"),
        (["evaluate", "budget.flops=-5"], "between 1 and 1e30"),
        (["evaluate", "strategies=[majorty(n=4)]"], "did you mean 'majority'?"),
        (["evaluate", "strategies=[beam(n=4,widht=2)]"], "did you mean 'width'?"),
        (["evaluate", "policy.path=/nowhere"], "no model's folder"),
        (["evaluate", "dataset=table", "dataset.path=/nowhere.jsonl"], "there is no such file"),
        (["evaluate", "dataset.grader=gym"], "it judges reasoning-gym's data sets by their names"),
        (["evaluate", "--help", "policy=chta"], "did you mean 'chat'?"),
        (["report"], "name one run"),
        (
            ["status", "runs", "watch=true"],
            "'watch=true': status takes no settings: to watch a run add --watch",
        ),
        (["status", "runs", "count=3"], "'count=3': status takes no settings"),
        (["report", "/nowhere"], "no run there"),
        (["show", "/nowhere"], "no run there"),
        (["train", "prm", "x", "prompt=Solve"], "error: prompt = 'Solve': it must hold {question}"),
        (
            ["train", "prm", "x", "domain=arithmetic", "policy=/nowhere"],
            "error: policy = '/nowhere': there is no model's folder",
        ),
        (
            ["train", "prm", "x", "parts=[{problems: 9, seed: 1, strategy: majorty}]"],
            "error: parts.strategy = 'majorty': there is no strategy",
        ),
        (["train", "prm", "x", "parts=[]"], "error: parts = (): at least one part must feed"),
        (["train", "prm", "x", "training.held_out_share=2"], "error: training.held_out_share = 2.0: a share"),
        (
            ["train", "prm", "x", "system=Solve"],
            "error: system = 'Solve': without chat no model reads it: set system",
        ),
        (
            ["train", "prm", "x", "chat=true"],
            "error: chat = True: this tokenizer has no chat template: set chat=false",
        ),
        (["train", "policy", "x", "vocabulary=9"], "error: vocabulary = 9: 256 bytes"),
        (["train", "policy", "x", "problems=0"], "error: problems = 0: it must be at least 1"),
        (["train"], "name a model, policy, prm, reviser or orm, and a folder for it"),
        (["train", "prn"], "did you mean 'prm'?"),
        (["train", "policy"], "name one folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_a_verifier_that_is_needed_and_missing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    kept = [word for word in words if not word.startswith("verifier.path")]
    assert main(["evaluate", *kept, "verifier=none"]) == 2
    assert "best_of_n(n=1), best_of_n(n=4), best_of_n(n=16), beam(n=1,width=4)" in capsys.readouterr().err


def test_a_verifier_with_another_tokenizer(
    words: list[str], models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    other = tmp_path / "prm"
    shutil.copytree(models[1], other)
    # Other ids for the same texts.
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    kept = [word for word in words if not word.startswith("verifier.path")]
    assert main(["evaluate", *kept, f"verifier.path={other}"]) == 2
    assert "tokenizer is not the policy's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("beam(n=16) vs best_of_n(n=16)", ""),
        ("beam(n=16) vs best_of_n(n=8)", ""),
        ("majority(n=2) vs pass(n=16)", ""),
        ("beam(n=8) vs greedy", "the run has no strategy 'beam(n=8,width=4)'"),
        ("greedy versus beam(n=16)", "write it as A vs B"),
    ],
)
def test_pairs_are_checked_before_the_run(
    pair: str, message: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [f"report.pairs=[{pair}]", f"folder={tmp_path / 'run'}"]
    assert main(["evaluate", "--dry-run", *words, *more]) == (2 if message else 0)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "place"), [("policy", 0), ("verifier", 1)])
def test_a_model_whose_context_is_too_short(
    kind: str,
    place: int,
    words: list[str],
    models: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import shutil

    short = tmp_path / kind
    shutil.copytree(models[place], short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 45}))
    kept = [word for word in words if not word.startswith(f"{kind}.path")]
    assert main(["evaluate", "--dry-run", *kept, f"{kind}.path={short}"]) == 2
    assert f"exceeds the {kind}'s context of 45" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["evaluate", "--help"],
        ["report", "-h"],
        ["show", "--help"],
        ["status", "--help"],
        ["train", "--help"],
        ["train", "prm", "--help"],
    ],
)
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out, err = said(capsys)
    assert "Examples:" in out
    assert err == ""


def test_help_lists_strategies_with_their_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--help"])
    out, _ = said(capsys)
    assert "beam(n, width=4, rounds=40, aggregation=last" in out
    assert "Self-consistency" in out


def test_help_shows_the_defaults_of_the_options_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--help"])
    usual = said(capsys)[0]
    main(["evaluate", "--help", "policy=chat", "verifier=none"])
    chosen = said(capsys)[0]
    assert "policy.max_tokens=128" in usual
    assert "policy.max_tokens=2048" not in usual
    assert "policy, here chat (by default countdown):" in chosen
    assert "policy.max_tokens=2048" in chosen
    assert "policy.max_tokens=128" not in chosen
    assert "verifier.path=null" in chosen
    assert "those of the options chosen (add e.g. policy=chat)" in usual


@pytest.mark.parametrize("word", ["--version", "version"])
def test_version(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    assert said(capsys)[0].startswith("flopwise 0.")


def test_ctrl_c_says_how_to_go_on(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestration.setup.prepare.prepare", interrupted)
    assert main(["evaluate", *words]) == 130
    given = shlex.join(["flopwise", "evaluate", *words])
    assert said(capsys)[1] == f"stopped before anything was drawn go on with: {given}"


def test_ctrl_c_of_a_training_promises_no_more_than_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestration.training.job.make_prm", interrupted)
    assert main(["train", "prm", "x"]) == 130
    assert said(capsys)[1] == "stopped; whatever had ended by then is kept go on with: flopwise train prm x"


def test_ctrl_c_of_what_only_reads_ends_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestration.runs.run.Run", interrupted)
    assert main(["show", "runs/x"]) == 130
    assert said(capsys)[1] == "stopped"


def test_a_dry_run_tells_costs_and_writes_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main(["evaluate", "--dry-run", *words, f"folder={folder}", "budget.generations=1000"]) == 0
    out, _ = said(capsys)
    assert "6 test problems of arithmetic" in out
    assert "about 1,000 generations, each scored, or 30,000 tokens" in out
    assert "The budget suffices as expected" in out
    assert "beam(n=16,width=4)" in out
    assert "FLOPs (paper)" in out
    assert "with keep=no_token_ids" in out
    assert not folder.exists()
    assert main(["evaluate", "--dry-run", *words, f"folder={folder}", "budget.generations=10"]) == 0
    assert "The budget does not suffice" in said(capsys)[0]


def test_a_dry_run_loads_no_ray(words: list[str], tmp_path: Path) -> None:
    arguments = json.dumps(["evaluate", "--dry-run", *words, f"folder={tmp_path / 'run'}"])
    code = f"from orchestration.commands.main import main\nassert main({arguments}) == 0"
    # The prompt that it shows is made by the tokenizer that a run makes it with, which brings transformers.
    assert loaded_by(code, ("ray", "vllm")) == []


@pytest.mark.parametrize("words", [["--help"], ["evaluate", "--help"]])
def test_a_reader_that_has_gone_is_no_failure(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "orchestration.commands.main", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_comes_at_once() -> None:
    code = "from orchestration.commands.main import main\nmain(['evaluate', '--help'])"
    heavy = ("torch", "ray", "transformers", "numpy", "pyarrow", "hydra", "matplotlib", "rich")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert loaded_by(code, heavy) == []
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Some tenths of a second, of a processor: a machine that does other work stretches the clock.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


def test_report_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", problems=12)
    assert main(["report", str(folder), "report=table", "report.pairs=[beam(n=4,width=4) vs greedy]"]) == 0
    out, _ = said(capsys)
    assert "12 problems, 95% intervals" in out
    assert "Paired differences" in out
    assert "report.md" in out
    assert ".png" not in out
    assert main(["report", str(folder), "report.pairs=[baem(n=4) vs greedy]"]) == 2


def test_show_lists_problems_and_reads_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", problems=30)
    assert main(["show", str(folder)]) == 0
    out, _ = said(capsys)
    assert "p0000" in out
    assert "10 more problems" in out
    assert " x + + +" in out or " + + + x" in out
    assert main(["show", str(folder), "p0003", "count=2"]) == 0
    out, _ = said(capsys)
    assert "question 3?" in out
    assert "reference: 42" in out
    assert "14 more candidates" in out
    assert main(["show", str(folder), "p0003", "strategy=beam(n=16,width=4)"]) == 0
    out, _ = said(capsys)
    assert "greedy" not in out
    assert "0.80" in out
    assert main(["show", str(folder), "p0003", "strategy=baem"]) == 2
    assert main(["show", str(folder), "p9999"]) == 2


def test_show_has_no_verdict_on_what_did_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", problems=2)
    part = folder / "outcomes" / "part-000001.parquet"
    table = pq.read_table(part)
    changed = {"state": "quarantined", "answer": None, "correct": False, "reason": "no"}
    pq.write_table(pa.Table.from_pylist([row | changed for row in table.to_pylist()], table.schema), part)
    assert main(["show", str(folder), "p0001", "strategy=greedy"]) == 0
    out = said(capsys)[0]
    assert "greedy quarantined 1 generation," in out
    assert "wrong" not in out
    assert main(["show", str(folder)]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "p0001" in line]
    assert line.split()[1:9] == ["-"] * 8


def test_show_has_a_mark_and_a_block_for_each_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run", problems=6)
    add_seed(folder, write_run(tmp_path / "other", problems=6, seed=5), 1, problems=4)
    assert main(["show", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "A mark for each seed: 0, 1" in out
    [both] = [line for line in out.splitlines() if "p0000" in line]
    [alone] = [line for line in out.splitlines() if "p0005" in line]
    assert len(both.split()[1]) == 2
    assert len(alone.split()[1]) == 1
    assert main(["show", str(folder), "p0000", "strategy=greedy"]) == 0
    out, _ = said(capsys)
    assert out.count("greedy seed ") == 2
    assert main(["show", str(folder), "p0005", "strategy=greedy"]) == 0
    assert "seed" not in said(capsys)[0]


def test_what_a_model_wrote_is_never_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from actors.store.schema import CANDIDATES

    folder = write_run(tmp_path / "run", problems=1)
    part = folder / "candidates" / "part-000001.parquet"
    rows = pq.read_table(part).to_pylist()
    for row in rows:
        row["steps"] = ["[red]x = [/nonsense] \x1b[2J", "#### [/]"]
    pq.write_table(pa.Table.from_pylist(rows, schema=CANDIDATES), part)
    assert main(["show", str(folder), "p0000"]) == 0
    out = capsys.readouterr().out
    assert "[red]x = [/nonsense]" in out
    assert "\x1b[2J" not in out
