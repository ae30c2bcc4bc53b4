"""Which packages of a user's own are found, and that a name means the same here as on the workers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.errors import UserError
from orchestration.setup.packages import importable


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("first_one", "second_one")]:
        del sys.modules[name]


def test_a_package_a_plain_folder_and_a_module_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first_one").mkdir()
    (tmp_path / "first_one" / "part.py").write_text("x = 1")
    (tmp_path / "second_one.py").write_text("y = 2")
    monkeypatch.chdir(tmp_path)
    paths = importable(["first_one", str(tmp_path / "second_one.py")])
    assert paths == (tmp_path / "first_one", tmp_path / "second_one.py")
    assert importlib.import_module("first_one.part").x == 1
    assert importlib.import_module("second_one").y == 2
    assert importable(["first_one"]) == paths[:1]
    # Last, so that what lies beside them hides nothing.
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_second_package_of_the_same_name_is_refused(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place / "first_one").mkdir(parents=True)
        (tmp_path / place / "first_one" / "__init__.py").touch()
    importable([str(tmp_path / "here" / "first_one")])
    importlib.import_module("first_one")
    with pytest.raises(UserError, match=r"first_one is imported from elsewhere here \(.*/here/first_one"):
        importable([str(tmp_path / "there" / "first_one")])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("notes.txt", r"name the folder of a package, or a module \(.py\)"),
        ("my-module.py", "my-module.py is not a name that Python can import"),
        ("mine.d", "mine.d is not a name that Python can import"),
        ("nothing", "there is no such file or folder"),
    ],
)
def test_what_is_no_package_is_refused(name: str, says: str, tmp_path: Path) -> None:
    for file in ("notes.txt", "my-module.py"):
        (tmp_path / file).touch()
    (tmp_path / "mine.d").mkdir()
    (tmp_path / "mine.d" / "part.py").touch()
    with pytest.raises(UserError, match=says):
        importable([str(tmp_path / name)])
