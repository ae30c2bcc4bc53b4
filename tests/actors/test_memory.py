"""The allocator's setting: accepted where glibc is, harmless elsewhere."""

from __future__ import annotations

import gc
import platform
import sys
import weakref

import pytest
import torch

from actors.memory import keep_freed_memory, spare_what_is_loaded


def test_glibc_accepts_it_and_memory_still_works() -> None:
    assert keep_freed_memory() == (sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc")
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
