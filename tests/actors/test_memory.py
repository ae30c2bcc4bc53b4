"""The allocator's setting: accepted where glibc is, harmless elsewhere; and what memory there is."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from actors import memory
from actors.memory import free_memory, keep_freed_memory, machine_memory, spare_what_is_loaded
from tests.support.places import ROOT

GLIBC = sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc"


def test_glibc_accepts_it_and_memory_still_works() -> None:
    assert keep_freed_memory() == GLIBC
    for _ in range(3):
        assert torch.ones(4_000_000).sum().item() == 4_000_000


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_what_is_loaded_is_collected_no_more_and_what_comes_later_is() -> None:
    class Ring:
        def __init__(self) -> None:
            self.me = self

    try:
        spare_what_is_loaded()
        assert gc.get_freeze_count() > 10_000
        assert len(gc.get_objects()) < 10_000
        gone = weakref.ref(Ring())
        gc.collect()
        assert gone() is None
    finally:
        gc.unfreeze()


_KEEPS_AND_GIVES = """
from actors.memory import give_back_freed_memory, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

keep_freed_memory()
before = resident()
blocks = [bytearray(1 << 20) for _ in range(64)]
last = bytearray(8)
del blocks
kept = resident()
give_back_freed_memory()
print(kept - before > 60 << 20, resident() - before < 4 << 20)
"""


@pytest.mark.skipif(not GLIBC, reason="elsewhere nothing is kept")
def test_what_was_freed_and_kept_is_given_back_when_asked() -> None:
    command = [sys.executable, "-c", _KEEPS_AND_GIVES]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout == b"True True\n"


def test_there_is_as_much_memory_as_machine_and_container_have(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < free_memory() < machine_memory()
    monkeypatch.setattr(memory, "_limits", lambda: iter([(1 << 60, 0), (5000, 4900)]))
    assert (machine_memory(), free_memory()) == (5000, 100)


@pytest.mark.parametrize(
    ("line", "root", "names"),
    [
        ("0::/pod/mine", "", ("memory.max", "memory.current", "inactive_file")),
        (
            "9:memory:/pod/mine",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
        # Inside of a container its own group is the root, whatever it is called outside.
        (
            "4:cpu,memory:/outside/pod",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_limits_of_containers_are_read(
    line: str, root: str, names: tuple[str, str, str], tmp_path: Path
) -> None:
    groups, mine = tmp_path / "groups", tmp_path / "cgroup"
    mine.write_text(f"3:pids:/x\n{line}\n")

    def group(path: str, limit: str, used: str) -> None:
        folder = groups / root / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(names, (limit, used), strict=False):
            (folder / name).write_text(text + "\n")
        (folder / "memory.stat").write_text(f"anon 3\n{names[2]} 200\n")

    group("pod/mine", "max", "900")
    group("pod", "5000", "1000")
    group("", "9000", "1000")
    inner = [] if "outside" in line else [(5000, 800)]
    assert list(memory._limits(groups, mine)) == [*inner, (9000, 800)]
    assert list(memory._limits(groups, tmp_path / "none")) == []
