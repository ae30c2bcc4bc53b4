"""Every command and script of README, docs and the examples that `--help` prints, run in the order in which they stand.

All share one folder, as a reader's terminal would: what a page builds on is there. A command runs as it is written unless
`SMALLER` has words to append to it, which make it small or name what only a reader has; words for a command that no page
shows fail a test. One command of each kind has its actors in other processes, as a reader's have; those of the others are in
this one. Of output, what has to be there is checked, never figures. It knows no command that is not on a page.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import ray
import torch
from transformers import AutoTokenizer

from actors.cluster.ray_start import start_ray
from actors.engines.verifiers.families.known import recognised
from orchestration.analysis.pairs import read_pair
from orchestration.api import Run
from orchestration.commands.main import main
from orchestration.setup.compose import compose
from orchestration.setup.domains import DOMAIN
from orchestration.training.job import PrmJob
from tests.support.chains import write_chains
from tests.support.documents import PAGES, ROOT, Block, blocks, commands, examples, file_of, helps, name_of
from tests.support.handmade import write_run
from tests.support.here import without_ray
from tests.support.planned import write_planned
from tests.support.plans import plan_for
from tests.support.public_verifiers import PUBLIC, with_pickled_head
from tests.support.smaller import SCRIPTS, SMALLER, THROUGH_RAY, smaller

# Pages that speak of a run which another page makes.
BUILD_ON = dict.fromkeys(
    ("docs/allocation.md", "conf/report.yaml", "conf/show.yaml", "flopwise status --help"),
    "flopwise evaluate",
)

BUILD_ON_A_PLAN = (
    "conf/compare_allocators.yaml",
    "conf/difficulty.yaml",
    "conf/explain.yaml",
    "conf/whatif.yaml",
)
"""Pages that read runs which another page makes: a sweep with its plan, and one to judge on."""

BUILD_ON_CHAINS = {
    "conf/train/orm.yaml": ("runs/chains", "runs/reviser/model", Path("models/mine")),
    "conf/train/reviser.yaml": (
        "runs/revised",
        "runs/first/reviser",
        ROOT / "models" / "countdown" / "policy",
    ),
}
"""Pages that read chains which a reviser drew: the run, the reviser, and the model that stands for it."""

DRAWING = "text"
"""The language of blocks that are only looked at; tests/test_docs.py reads what they name."""

# Pages that are run where vLLM is installed: by make test-vllm.
ON_VLLM_PAGES = {"docs/engines.md"}

Page = tuple[str, list[Block | str]]


def pages() -> list[Page]:
    """Every page with what is to be run of it, in its order: commands as text, other blocks as they are; no drawings."""
    found: list[Page] = []
    for page in PAGES:
        parts: list[Block | str] = []
        for block in blocks(page):
            if block.language == DRAWING:
                continue
            parts += commands(block.text) if block.language == "sh" else [block]
        found.append((name_of(page), parts))
    return found + [(where, list(examples(text))) for where, text in helps().items()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what a reader has: problems and a model of their own; and one Ray for all commands."""
    folder = tmp_path_factory.mktemp("reader")
    rows = [{"question": "12 + 7 = ?", "answer": "19"}, {"question": "40 - 3 + 5 = ?", "answer": "42"}]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    boxed = {"problem": "12 + 7 = ?", "solution": "...", "answer": "19", "unique_id": "test/algebra/1.json"}
    (folder / "test.jsonl").write_text(json.dumps(boxed))
    warm = {"ask": {"en": "Which is warm?"}, "options": ["ice", "fire"], "key": "B"}
    (folder / "choices.jsonl").write_text(json.dumps(warm))
    solutions = [{"text": "so #### 19", "completion": "#### 19", "answer": "19", "gold": "19"}]
    (folder / "solutions.jsonl").write_text(json.dumps(solutions[0]))
    pq.write_table(pa.Table.from_pylist(solutions), folder / "solutions.parquet")
    mine = folder / "models" / "mine"
    shutil.copytree(ROOT / "models" / "arithmetic" / "policy", mine)
    tokenizer = AutoTokenizer.from_pretrained(mine)
    # The user's turn alone, as this model was taught it.
    tokenizer.chat_template = "{{ bos_token }}{{ messages[-1]['content'] + '\n' }}"
    tokenizer.save_pretrained(mine)
    config = json.loads((mine / "config.json").read_text())
    # As long as a reader's model would be; positions are computed, not learnt.
    (mine / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    plan_for(["dataset.count=2"], folder / "plan.yaml")
    threads = torch.get_num_threads()
    start_ray(cpus=4)
    yield folder
    ray.shutdown()
    torch.set_num_threads(threads)


@pytest.mark.timeout(900)  # a page has up to eight runs, each with processes of its own
@pytest.mark.parametrize(
    ("where", "parts"),
    [
        pytest.param(where, parts, id=where, marks=[pytest.mark.vllm] if where in ON_VLLM_PAGES else [])
        for where, parts in pages()
    ],
)
def test_a_page_does_what_it_says(
    where: str,
    parts: list[Block | str],
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    if where in BUILD_ON and not Path("runs/evaluate").exists():
        run_command(BUILD_ON[where])
    if where in BUILD_ON_A_PLAN:
        plan_here()
    if where in BUILD_ON_CHAINS:
        chains_here(*BUILD_ON_CHAINS[where])
    capsys.readouterr()
    for part in parts:
        if isinstance(part, str):
            run_command(part)
        elif (file := file_of(part)) is not None:
            Path(file).parent.mkdir(exist_ok=True)
            Path(file).write_text(part.text)
        else:
            LANGUAGES[part.language](part.text)
    if where in CHECKS:
        CHECKS[where](capsys.readouterr().out)


def chains_here(run: str, reviser: str, model: Path) -> None:
    """What the reader has who trained a reviser and drew chains with it: made by hand."""
    if not Path(reviser).exists():
        shutil.copytree(model, reviser)
    if not Path(run).exists():
        write_chains(Path(run), Path(reviser))


def plan_here() -> None:
    """What the reader has who made a plan: made by hand, where no page has drawn it."""
    for seed, name in enumerate(("runs/calibrate", "runs/test")):
        if not Path(name).exists():
            write_planned(Path(name), problems=50, ladder=(1, 4), seed=seed)
            assert main(["calibrate", name, "plan.orders=1"]) == 0


def run_command(command: str) -> None:
    """Run what a page shows; a program that is not ours is run where it is there, as far as a test may."""
    words = shlex.split(command)
    if words[0] == "flopwise":
        found = smaller(command)
        more = shlex.split(found[1].words) if found else []
        if any(word.startswith("cluster.packages=") for word in words):
            # The Ray that is up here has none.
            run_apart([*words[1:], *more])
            return
        through_ray = found is not None and found[0] in THROUGH_RAY
        with nullcontext() if through_ray else without_ray():
            assert main([one_of_the_run(word) for word in words[1:]] + more) == 0, command
    elif words[0] == "make":
        # What its targets run is checked elsewhere or takes minutes: that they are there, and what they would run.
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] == "pip":
        # This environment was made so: what a page installs or removes, the Makefile or the package names too.
        known = (ROOT / "Makefile").read_text() + (ROOT / "pyproject.toml").read_text()
        for word in words[2:]:
            name = word.removeprefix(".[").removesuffix("]")
            assert word.startswith("-") or word == "." or name in known, command
    elif words[0] == "jq":
        value = json.loads(Path(words[2]).read_text())
        for name in words[1].removeprefix(".").split("."):
            value = value[name]
        if shutil.which("jq"):
            subprocess.run(words, check=True, capture_output=True)
    else:
        raise AssertionError(f"nothing runs this: {command}")


def one_of_the_run(word: str) -> str:
    """A problem of runs/evaluate for the one that stands for any."""
    if word != "countdown-0123456789abcdef":
        return word
    problem: str = Run("runs/evaluate").problems()["problem_id"][0].as_py()
    return problem


def run_apart(words: list[str]) -> None:
    """Run our command in a process of its own."""
    main_module = [sys.executable, "-m", "orchestration.commands.main"]
    done = subprocess.run([*main_module, *words], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def run_script(text: str) -> None:
    """A script in a process of its own, with fewer problems; the model that it names is the reader's, here with pickled
    weights."""
    for long, short in SCRIPTS.items():
        text = text.replace(long, short)
    if "/models/mine" in text:
        text = text.replace("/models/mine", str(pickled()))
    if "/models/ReasonFlux-PRM-1.5B" in text:
        made = PUBLIC["reasonflux_prm_1_5b"].save(Path("models/reasonflux").absolute())
        text = text.replace("/models/ReasonFlux-PRM-1.5B", str(with_pickled_head(made)))
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def pickled() -> Path:
    """The reader's model as `pytorch_model.bin`."""
    from safetensors.torch import load_file

    folder = Path("models/pickled").absolute()
    shutil.copytree("models/mine", folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def run_query(text: str) -> None:
    found = duckdb.sql(text)
    assert found.fetchall()
    print(found)


LANGUAGES: dict[str, Callable[[str], None]] = {"python": run_script, "sql": run_query}


def check_readme(said: str) -> None:
    assert "FLOPs (paper)" in said  # the dry run
    rows = re.findall(r"^(\S+) +\S+  \S+ FLOPs a problem$", said, re.MULTILINE)
    assert {"greedy", "majority(n=8)", "beam(n=4,width=4)"} <= set(rows)  # the driver script
    assert len(re.findall(r"^countdown-\w+ .* (?:True|False) \d+$", said, re.MULTILINE)) == 3 * 3
    assert {path.name for path in Path("runs/small/report").iterdir()} >= {
        "report.md",
        "table.csv",
        "table.parquet",
    }
    assert list(Path("runs/evaluate/report").glob("*.png"))
    tight = Run("runs/tight")
    assert 0 < sum(entry.flops for entry in tight.books()) <= 1e12
    seeds = Run("runs/seeds").outcomes()
    assert sorted(pc.unique(seeds["seed"]).to_pylist()) == [0, 1, 2]
    assert "runs/small: finished" in said
    assert "FLOPs settled" in said
    problems = Run("runs/small").problems()["problem_id"].to_pylist()
    assert all(re.search(rf"^{problem} ", said, re.MULTILINE) for problem in problems)  # show
    for name in ("strategies", "dataset.count", "seeds", "reuse"):
        assert re.search(rf"^  {name}=", said, re.MULTILINE)  # help


def check_how_it_works(said: str) -> None:
    text = (ROOT / "docs" / "how-it-works.md").read_text()
    small, other = Run("runs/small"), Run("runs/other")
    [table] = re.findall(r"\| what \| holds \|\n\|---\|---\|\n(.*?)\n\n", text, re.DOTALL)
    for names in re.findall(r"^\| (.*?) \|", table, re.MULTILINE):
        for name in re.findall(r"`(.+?)`", names):
            # Written where a file of problems has rows that are none, and where a strategy failed.
            assert (small.folder / name).exists() or name in ("quarantined.jsonl", "failures.log"), name
    # It went on: the first command's outcomes were not made again, and its 16 samples not drawn again.
    first, second = small.info["sessions"][0], small.info["sessions"][-1]
    assert second["outcomes"] == small.outcomes().num_rows - first["outcomes"] == 5
    whole = "start = 0 AND len(place) = 1 AND finish_reason <> 'stop'"
    found = duckdb.sql(
        f"SELECT problem_id, count(*) FROM 'runs/small/samples/*.parquet' WHERE {whole} GROUP BY ALL"
    )
    assert [count for _, count in found.fetchall()] == [65] * 3  # 64, and the greedy one
    # The last drew nothing, and paid for scores alone.
    assert {entry.purpose for entry in other.books()} == {"verifier"}
    assert not list((other.folder / "samples").iterdir())
    assert pc.sum(other.outcomes()["attributed_flops"]).as_py() > sum(entry.flops for entry in other.books())
    assert re.search(r"policy\W+kept", said)


def check_results(said: str) -> None:
    page, report = (ROOT / "docs" / "results.md").read_text(), Path("runs/long/report/report.md").read_text()
    for pattern in (r"^## (?!Figures)(.*)$", r"^(\|.*\|)\n\|---", r"^\| ((?:~ )?(?:\w+\(n=.*?\)|greedy)) \|"):
        named = re.findall(pattern, page, re.MULTILINE)
        assert named == re.findall(pattern, report, re.MULTILINE)
        assert named
    said_there = {anonymous(line) for line in page.splitlines()}
    lines = [line for line in report.splitlines() if line and not line.startswith(("|", "#", "!"))]
    assert not [line for line in lines if anonymous(line) not in said_there]


def check_strategies(said: str) -> None:
    """Every row and every pair that the page shows is one that its command makes; no strategy or pair of it is left out."""
    page = (ROOT / "docs" / "strategies.md").read_text()
    report = Path("runs/strategies/report/report.md").read_text()
    head = "| strategy | N | accuracy | interval | tokens | FLOPs | FLOPs exact | dropped |"
    shown, made = rows_below(page, head), rows_below(report, head.removesuffix("|"))
    assert [row[:2] for row in shown] == [row[:2] for row in made if not row[0].startswith("~")]
    assert len(shown) == 48
    made_pairs, shown_pairs = (
        {(row[0], row[1]) for row in rows_below(text, "| strategy | less |")} for text in (report, page)
    )
    assert shown_pairs <= made_pairs
    [command] = [
        command
        for block in blocks(ROOT / "docs" / "strategies.md")
        if block.language == "sh"
        for command in commands(block.text)
        if "folder=runs/strategies" in command
    ]
    [named] = re.findall(r"report\.pairs=\[(.*?)\]'", command)
    one = r"\w+(?:\([^)]*\))?"
    asked = {read_pair(pair) for pair in re.findall(f"{one} vs {one}", named)}
    assert len(asked) == named.count(" vs ") > 20
    assert asked <= shown_pairs


def rows_below(text: str, head: str) -> list[list[str]]:
    """The cells of a table's rows, by how its head begins."""
    _, _, rest = text.partition(f"\n{head}")
    assert rest, head
    found = []
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def anonymous(line: str) -> str:
    """A line without its figures."""
    return re.sub(r"\d(?:[\d.,e]*\d)?", "0", line)


def check_models(said: str) -> None:
    assert recognised(Path("models/reasonflux")).name == "reasonflux_prm_1_5b"
    for model in ("plain", "mine"):
        assert {"value_head.json", "model.safetensors", "tokenizer.json"} <= {
            path.name for path in Path(f"runs/{model}/model").iterdir()
        }
    # The plain recipe leaves the language stage out, and with it what feeds that alone.
    [found] = [
        one for command, one in SMALLER.items() if command.startswith("flopwise train prm runs/plain/model")
    ]
    parts = compose("train/prm", [word for word in shlex.split(found.words) if "=" in word], PrmJob).parts
    assert {path.name for path in Path("runs/prm", DOMAIN).iterdir()} == {
        f"part-{number}" for number, part in enumerate(parts) if part.use != "language"
    }


def check_errors(said: str) -> None:
    assert Path("models/pickled/model.safetensors").is_file()


def check_extending(said: str) -> None:
    run = Run("runs/mine")
    assert {row["strategy"] for row in run.outcomes().to_pylist()} == {
        "majority(n=4)",
        "best_of_n(n=4)",
        "mine.strategies.Shortest(n=4,least=0.5)",
    }
    # The script found all of it done.
    assert len(run.info["sessions"]) == 1
    assert "9 outcomes" in said


CHECKS: dict[str, Callable[[str], None]] = {
    "README.md": check_readme,
    "docs/errors.md": check_errors,
    "docs/extending.md": check_extending,
    "docs/how-it-works.md": check_how_it_works,
    "docs/models.md": check_models,
    "docs/results.md": check_results,
    "docs/strategies.md": check_strategies,
}


def test_the_queries_for_a_budget_that_was_raised_keep_the_newest_rows(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=5, ladder=(1, 4))
    newer = write_run(tmp_path / "newer", problems=3, ladder=(1, 4), seed=1)
    for table in ("outcomes", "candidates"):
        shutil.copy(newer / table / "part-000001.parquet", folder / table / "part-000002.parquet")
    queries = [
        block.text.replace("runs/small", str(folder))
        for block in blocks(ROOT / "docs" / "how-it-works.md")
        if "QUALIFY" in block.text
    ]
    answered, counted = (duckdb.sql(query).fetchall() for query in queries)
    outcomes, candidates = Run(folder).outcomes(), Run(folder).candidates()
    assert len(outcomes) < duckdb.sql(f"FROM '{folder}/outcomes/*.parquet'").count("key").fetchall()[0][0]
    means = "avg(correct::INT), avg(attributed_flops) FROM outcomes"
    assert sorted(answered) == sorted(duckdb.sql(f"SELECT strategy, {means} GROUP BY 1").fetchall())
    assert (
        counted
        == duckdb.sql(
            "SELECT strategy, count(*), avg(tokens) FROM candidates GROUP BY 1 ORDER BY 1"
        ).fetchall()
    )
    assert sum(count for _, count, _ in counted) == len(candidates)


def test_no_words_are_left_for_what_no_page_shows() -> None:
    shown = {part for _, parts in pages() for part in parts if isinstance(part, str)}
    found = [(command, smaller(command)) for command in shown]
    assert {one[0] for _, one in found if one is not None} == set(SMALLER)
    for command, one in found:
        # A page that names the same has become small enough.
        assert one is None or not set(shlex.split(one[1].words)) & set(shlex.split(command))
    assert set(SMALLER) >= THROUGH_RAY
    scripts = "".join(part.text for _, parts in pages() for part in parts if isinstance(part, Block))
    assert all(scripts.count(long) == 1 for long in SCRIPTS)
    assert set(BUILD_ON) | set(CHECKS) <= {where for where, _ in pages()}
    assert set(BUILD_ON.values()) <= shown


def test_whatever_a_page_shows_as_code_is_of_a_kind_that_is_run() -> None:
    kinds = {block.language for page in PAGES for block in blocks(page)}
    assert kinds == {"sh", DRAWING, *LANGUAGES}


def test_a_command_that_nothing_runs_is_found() -> None:
    with pytest.raises(AssertionError, match="nothing runs this"):
        run_command("curl https://example.org")
    with pytest.raises(AssertionError, match="cuont"):
        run_command("flopwise evaluate dataset.cuont=3")
