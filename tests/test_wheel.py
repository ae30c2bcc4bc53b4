"""The wheel as its users have it: built from the checkout's files, installed outside of it, run from an empty folder.

Its environment sees the packages of the tests' own by a path line in a .pth file. What such a file would add in there is not
read (an editable install's, say), so that flopwise can only come from the wheel. No network is used.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestration.runs.run import Run
from tests.support.documents import ROOT
from tests.test_face import NAMES

# What a checkout may hold beside its own files, and no wheel.
STRAY = ("runs/mine/config.yaml", "models/mine/config.json", "models/arithmetic/policy/log/state.json")

PLACES = """
import json, sys
import flopwise
from orchestration.setup import compose, domains
flopwise.evaluate
ours = {"actors", "conf", "flopwise", "models", "orchestration"}
files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in ours]
print(json.dumps([*files, str(compose.CONF), str(domains.MODELS)]))
"""

TYPED = """
from collections.abc import Iterator
from typing import assert_type

import flopwise

assert_type(flopwise.load("runs/x").results(), Iterator[flopwise.Result])
assert_type(flopwise.Sampling().temperature, float)
flopwise.nothing  # type: ignore[attr-defined]
"""


def run(words: Sequence[str | Path], cwd: Path) -> str:
    """The output of a program, which nothing tells of the checkout and which has to succeed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MYPY"))}
    clean.pop("RAY_ADDRESS", None)
    done = subprocess.run(words, cwd=cwd, env=clean, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[str]:
    """The checkout's own files."""
    # A checkout of another user's is read as well.
    words = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@dataclass(frozen=True, slots=True)
class Installed:
    """A wheel, the `bin` and `site` folders of an environment that it is installed in, and an empty folder to work in."""

    wheel: Path
    bin: Path
    site: Path
    cwd: Path


def install(wheel: Path, folder: Path) -> Installed:
    """Install the wheel alone into a fresh environment."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    programs = folder / "venv" / "bin"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", programs / "python"]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], folder)
    [site] = (folder / "venv" / "lib").glob("python*/site-packages")
    (folder / "empty").mkdir()
    return Installed(wheel, programs, site, folder / "empty")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout with things in it that belong to none."""
    copy, built = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    for name in STRAY:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("{}")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run([*pip, "--wheel-dir", built, copy], copy)
    [found] = built.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment that has what flopwise depends on."""
    found = install(wheel, tmp_path_factory.mktemp("installed"))
    others = dict.fromkeys(sysconfig.get_paths()[kind] for kind in ("purelib", "platlib"))
    (found.site / "others.pth").write_text("".join(f"{path}\n" for path in others))
    return found


def test_the_wheel_has_what_runs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt")))
    tops = ("actors/", "conf/", "flopwise-stubs/", "flopwise.py", "models/", "orchestration/")
    assert names == {name for name in tracked() if name.startswith(tops)}
    assert {
        "actors/py.typed",
        "orchestration/py.typed",
        "models/arithmetic/prm/value_head.safetensors",
        "models/countdown/prm/value_head.safetensors",
        "models/countdown/reviser/revision.json",
    } <= names
    assert entry.decode().split() == [
        "[console_scripts]",
        "flopwise",
        "=",
        "orchestration.commands.main:main",
    ]


def test_what_is_imported_lies_in_the_environment(installed: Installed) -> None:
    files = json.loads(run([installed.bin / "python", "-c", PLACES], installed.cwd))
    assert len(files) > 50
    assert [file for file in files if not Path(file).is_relative_to(installed.site.resolve())] == []


def test_command_and_face_are_there(installed: Installed) -> None:
    version = run([installed.bin / "flopwise", "--version"], installed.cwd)
    assert version == f"flopwise {installed.wheel.name.split('-')[1]}\n"
    assert run([installed.bin / "python", "-m", "flopwise", "--version"], installed.cwd) == version
    names = run([installed.bin / "python", "-c", "import flopwise; print(flopwise.__all__)"], installed.cwd)
    assert names == f"{NAMES}\n"


@pytest.fixture(scope="module")
def taken(installed: Installed) -> Path:
    """A folder in which a user has files of the names of flopwise's packages, of Python's modules, and of Ray."""
    folder = installed.cwd.parent / "taken"
    (folder / "conf").mkdir(parents=True)
    for name in ("actors", "orchestration", "statistics", "ray", "conf/__init__"):
        (folder / f"{name}.py").write_text("raise SystemExit('a file of the user's')")
    (folder / "conf" / "evaluate.yaml").write_text("mine: true")
    return folder


def test_a_script_of_the_users_beside_such_files_imports_flopwise(installed: Installed, taken: Path) -> None:
    scripts = taken.parent / "scripts"
    shutil.copytree(taken, scripts)
    # What Python itself takes from beside a script is nobody's to mend.
    for name in ("statistics", "ray"):
        (scripts / f"{name}.py").unlink()
    (scripts / "script.py").write_text("import flopwise; print(flopwise.settings_of().folder)")
    assert run([installed.bin / "python", "script.py"], scripts) == "runs/evaluate\n"


def test_it_evaluates_with_the_bundled_models(installed: Installed, taken: Path) -> None:
    words = ["strategies=[majority(n=2),best_of_n(n=2)]", "dataset.count=3", "folder=run", "report=table"]
    said = run([installed.bin / "flopwise", "evaluate", *words], taken)
    folder = taken / "run"
    assert "6 outcomes: 6 answered." in said
    report = (folder / "report" / "report.md").read_text()
    assert "| majority(n=2) |" in report
    assert "| best_of_n(n=2) |" in report
    done = Run(folder)
    assert done.states() == {"answered": 6}
    assert {name: Path(model["path"]) for name, model in done.info["models"].items()} == {
        "policy": installed.site.resolve() / "models" / "countdown" / "policy",
        "verifier": installed.site.resolve() / "models" / "countdown" / "prm",
    }


def test_a_users_mypy_sees_the_types(wheel: Path, tmp_path: Path) -> None:
    # Without the others' packages, which mypy would read all of.
    found = install(wheel, tmp_path)
    (found.cwd / "user.py").write_text(TYPED)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir=cache", "user.py", "--python-executable"]
    said = run([*mypy, found.bin / "python"], found.cwd)
    assert said == "Success: no issues found in 1 source file\n"
