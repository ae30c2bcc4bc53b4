"""What README, docs and CONTRIBUTING.md name exists: links, anchors, settings, options, strategies, files, commands, targets.

That their commands and scripts run is tests/test_docs_run.py's, the rows of docs/errors.md are
tests/orchestration/setup/test_bad_input.py's.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from actors.errors import UserError
from actors.ledger import Kind, Purpose
from actors.store.schema import TABLES
from actors.work import State
from orchestration.analysis.pairs import LIKELIHOOD, PASS
from orchestration.api import settings_of
from orchestration.commands.helptext import entries
from orchestration.commands.main import COMMANDS
from orchestration.problems import CountdownSource
from orchestration.setup.compose import CONF, groups, options
from orchestration.setup.settings import ShowSettings, flatten
from orchestration.strategies.parse import parse
from orchestration.strategies.registry import STRATEGIES
from orchestration.strategies.selection import AGGREGATIONS
from orchestration.training.job import PrmJob
from orchestration.training.reviser_job import ReviserJob
from tests.support.documents import (
    CHANGELOG,
    CONTRIBUTING,
    PAGES,
    ROOT,
    anchors,
    blocks,
    commands,
    examples,
    helps,
    links,
    name_of,
    prose,
    spans,
)

every_page = pytest.mark.parametrize("page", [*PAGES, CONTRIBUTING], ids=name_of)

README, HOW = PAGES[0], ROOT / "docs" / "how-it-works.md"
# What a run, a model's folder or a user's own disk holds, and no checkout.
OF_RUNS = {
    *TABLES,
    "problems",
    "report",
    "log",
    "config.yaml",
    "run.json",
    "status.json",
    "quarantined.jsonl",
    "failures.log",
    "prompt_values.parquet",
    "runs",
}
OF_MODELS = {
    "config.json",
    "generation_config.json",
    "value_head.json",
    "pytorch_model.bin",
    "model.safetensors",
    "training.json",
    "revision.json",
    "tokenizer_config.json",
}
PLANNING = ("calibrate", "explain", "whatif", "compare_allocators", "difficulty")
OF_USERS = {"problems.jsonl", "mine.yaml", ".venv", ".venv-vllm"}
_ENDINGS = r"md|py|yaml|json|jsonl|png|toml|safetensors|bin|parquet"
PURPOSES = [purpose for part in get_args(Purpose) for purpose in get_args(part)]


def settings() -> set[str]:
    """Every key that `evaluate`, `show`, `report` or a training of samples takes, with the names of what holds several."""
    trees = [
        yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
        for group in groups("evaluate")
        for option in options(group)
    ]
    keys = {f"{group}.{key}" for group, tree in _named(trees) for key in flatten(tree)}
    keys |= set(flatten(dataclasses.asdict(settings_of()))) | set(flatten(dataclasses.asdict(PrmJob("", ""))))
    keys |= set(flatten(dataclasses.asdict(ReviserJob("", ""))))
    keys |= set(dataclasses.asdict(ShowSettings())) | {"domain", "pair"}
    keys |= {f"dataset.options.{field.name}" for field in dataclasses.fields(CountdownSource)}
    keys |= set(yaml.safe_load((CONF / "report.yaml").read_text()))
    keys |= {one.key for root in PLANNING for one in entries(CONF / f"{root}.yaml")}
    return keys | {".".join(key.split(".")[:depth]) for key in keys for depth in (1, 2)}


def _named(trees: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    names = [group for group in groups("evaluate") for _ in options(group)]
    return list(zip(names, trees, strict=True))


@pytest.mark.parametrize("page", [*PAGES, CONTRIBUTING, CHANGELOG], ids=name_of)
def test_links_and_images_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


@every_page
def test_settings_in_the_text_exist(page: Path) -> None:
    known, chosen = settings(), groups("evaluate")
    for span in spans(page):
        for word in span.split():
            found = re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)*)=(.*)", word) or re.fullmatch(
                rf"((?:{'|'.join(chosen)})(?:\.[a-z_]+)+)()", word
            )
            if found is None or word == "key=value" or word.endswith(".yaml"):
                continue
            of_template = found[1].startswith("policy.prompt.chat_options.")
            assert of_template or found[1] in known or found[1] in AS_PARAMETERS, f"{word} in {span}"
            if found[1] in (*chosen, "domain", "pair") and found[2] != "...":
                assert found[2] in options(found[1]), span


# Parameters of strategies that the text names by themselves.
AS_PARAMETERS = {field.name for kind in STRATEGIES.values() for field in dataclasses.fields(kind)}  # type: ignore[arg-type]


def test_a_setting_that_is_not_there_would_be_found() -> None:
    known = settings()
    assert {"dataset.path", "cluster.grace", "policy.prompt.chat", "training.width", "cluster"} <= known
    assert not {"dataset.cuont", "cluster.patience", "width.training"} & known


@every_page
def test_strategies_parse(page: Path) -> None:
    code = [*spans(page), *(block.text for block in blocks(page))]
    for text in re.findall(rf"\b(?:{'|'.join(STRATEGIES)})\([^()]*=[^()]*\)", "\n".join(code)):
        parse(text)
    for text in re.findall(r"^\| (?:~ )?(\w+\([^|]*\)|greedy) \|", page.read_text(), re.MULTILINE):
        # A paired difference may be to a baseline, which no run is asked for.
        if not text.startswith((f"{PASS}(", f"{LIKELIHOOD}(")):
            parse(text)


def test_a_strategy_with_a_misspelt_parameter_would_be_found() -> None:
    with pytest.raises(UserError, match="did you mean 'width'"):
        parse("beam(n=4,widht=2)")


def test_the_table_of_strategies_has_each_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)(?:\(.*?\))?` \|", README.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(STRATEGIES)
    said = re.search(r"become one by `aggregation`: (.*)\.$", README.read_text(), re.MULTILINE)
    assert said is not None
    assert set(re.findall(r"`(\w+)`", said[1])) == set(AGGREGATIONS)


def test_the_page_of_strategies_has_a_section_for_each_with_every_parameter_at_its_default() -> None:
    page = (ROOT / "docs" / "strategies.md").read_text()
    sections = dict(re.findall(r"^### (\w+)\n\n`([^`]+)`$", page, re.MULTILINE))
    assert sorted(sections) == sorted(STRATEGIES)
    for name, text in sections.items():
        kind: Any = STRATEGIES[name]
        # Those of a strategy in it are its own.
        shown = re.findall(r"(\w+)=", re.sub(r"'[^']*\)'", "", text))
        parameters = [field for field in dataclasses.fields(kind) if field.init]
        assert shown == [field.name for field in parameters], text
        required = {
            field.name: "plan.yaml" if field.name == "plan" else 16
            for field in parameters
            if field.default is dataclasses.MISSING
        }
        nested = {"of": parse("beam(n=16)"), "search": parse("beam(n=16)")}
        required |= {one: nested[one] for one in getattr(kind, "nested", ())}
        assert parse(text) == kind(**required), text


@every_page
def test_files_and_folders_in_the_text_exist(page: Path) -> None:
    for span in spans(page):
        if not re.fullmatch(rf"[\w.-]+/|[\w./-]+/[\w./-]+|[\w-]+\.(?:{_ENDINGS})", span):
            continue
        first = span.split("/")[0]
        if first not in OF_RUNS | OF_MODELS | OF_USERS:
            assert (ROOT / span).exists(), span


@every_page
def test_commands_and_targets_in_the_text_exist(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    marks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    for span in spans(page):
        words = span.split()
        if words[0] == "flopwise" and len(words) > 1:
            assert words[1] in COMMANDS, span
        elif words[0] == "make":
            assert words[1] in targets, span
        elif words[:2] == ["pytest", "-m"]:
            assert any(mark.startswith(f"{words[2]}:") for mark in marks), span


def test_the_commands_of_a_contributor_exist() -> None:
    """They are not run, for they are the tests, or make environments: targets, tools and files are looked for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"\W*[><=~]", one)[0] for one in project["optional-dependencies"]["dev"]}
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = [one for block in blocks(CONTRIBUTING) for one in commands(block.text)]
    assert {block.language for block in blocks(CONTRIBUTING)} == {"sh"}
    shown += [span for span in spans(CONTRIBUTING) if span.startswith(".venv/bin/")]
    assert len(shown) > 4
    for command in shown:
        program, *words = command.split()
        if program == "make":
            assert words[0] in targets, command
            continue
        tool = program.removeprefix(".venv/bin/")
        assert tool in named | {"python", "lint-imports"}, command
        if words[:2] == ["-m", "pytest"]:
            tests = ROOT / words[2]
            assert tests.is_file(), command
            assert words[3:] == [] or re.search(rf"def test_\w*{words[4]}", tests.read_text()), command


def test_hooks_before_a_commit_run_what_is_checked_before_a_change_lands() -> None:
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = {" ".join(hook["entry"].split()[:2]) for hook in repository["hooks"]}
    [recipe] = re.findall(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    checks = {" ".join(line.replace("$(BIN)", ".venv/bin").split()[:2]) for line in recipe.splitlines()}
    # The contracts are a test of the suite.
    assert {one.removesuffix(" .") for one in checks} | {".venv/bin/lint-imports"} == entries


def test_the_glossary_has_every_purpose_kind_and_state() -> None:
    text = prose(ROOT / "docs" / "glossary.md")
    for word in (*PURPOSES, *get_args(Kind), *get_args(State)):
        assert f"`{word}`" in text, word


def test_how_it_works_lists_every_table_purpose_and_kind() -> None:
    text = prose(HOW)
    listed = set(re.findall(r"`(\w+)/`", text))
    assert set(TABLES) <= listed
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(get_args(Kind))
    for purpose in PURPOSES:
        assert f"`{purpose}`" in text


def test_the_drawings_of_how_it_works_name_modules_that_exist() -> None:
    drawings = [block.text for block in blocks(HOW) if block.language == "text"]
    assert len(drawings) == 2
    for drawing in drawings:
        named = re.findall(r"\b(?:actors|orchestration|conf)/[\w/]+", drawing)
        assert len(set(named)) >= 8
        for name in named:
            assert (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file(), name


def test_every_help_with_examples_is_read_as_it_is_printed() -> None:
    found = {where: examples(text) for where, text in helps().items()}
    assert {"conf/evaluate.yaml", "conf/report.yaml", "conf/show.yaml", "conf/train/prm.yaml"} <= set(found)
    for where, text in helps().items():
        assert len(found[where]) == len(
            re.findall(r"^  (?:flopwise|jq) ", text.partition("Examples:")[2], re.MULTILINE)
        )
        assert all(one.startswith(("flopwise ", "jq ")) for one in found[where])


def test_the_short_way_is_short() -> None:
    """Two commands do everything, and a driver script has fewer than fifteen lines."""
    first = commands(blocks(README)[0].text)
    assert first == ["make run", "make test"]
    [script] = [block.text for block in blocks(README) if block.language == "python"]
    assert len(script.strip().splitlines()) < 15


def test_every_room_is_named_where_contributors_look() -> None:
    told = CONTRIBUTING.read_text()
    files = [file for half in ("actors", "orchestration") for file in (ROOT / half).rglob("*.py")]
    rooms = {file.parent.relative_to(ROOT) for file in files if file.parent.parent != ROOT}
    ground = {
        file.relative_to(ROOT) for file in files if file.parent.parent == ROOT and file.name != "__init__.py"
    }
    named = {*(f"`{room}/`" for room in rooms), *(f"`{file}`" for file in ground)}
    assert {one for one in named if one not in told} == set()
