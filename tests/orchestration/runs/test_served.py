"""A policy behind an address through the command and Ray: its candidates are the local engine's, and its folder goes on with
another address, not with another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from orchestration.api import Run
from orchestration.commands.main import main
from tests.support.here import without_ray
from tests.support.served import KEY, KEY_VARIABLE, ServerProcess

STRATEGIES = "strategies=[greedy,majority(n=4),best_of_n(n=4),beam(n=4,width=2)]"


def drawn(folder: Path) -> list[tuple[Any, ...]]:
    rows = Run(folder).candidates().to_pylist()
    return sorted((row["key"], row["index"], *row["token_ids"]) for row in rows)


def by_strategy(folder: Path) -> set[tuple[Any, ...]]:
    """Candidates, whatever engine drew them."""
    strategies = {
        row["key"]: (row["strategy"], row["problem_id"]) for row in Run(folder).outcomes().to_pylist()
    }
    return {(*strategies[key], index, *ids) for key, index, *ids in drawn(folder)}


def test_a_run_behind_an_address_draws_what_the_local_engine_draws(
    words: list[str],
    server: ServerProcess,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = Path(next(word for word in words if word.startswith("policy.path=")).partition("=")[2])
    url = server.serve("evaluated", model, wants=KEY)
    local, served = tmp_path / "local", tmp_path / "served"
    more = ["dataset.count=4", STRATEGIES, "report=table"]
    asks = [*words, *more, "policy.engine=http", f"policy.key_variable={KEY_VARIABLE}", "budget=exact"]
    assert main(["evaluate", *asks, f"policy.url={url}", f"folder={served}"]) == 0
    run = Run(served)
    assert set(run.outcomes()["state"].to_pylist()) == {"answered"}
    assert run.info["identity"]["engine"] == "http evaluated"
    assert run.info["wasted_flops"] == 0
    with without_ray():
        assert main(["evaluate", *words, *more, f"folder={local}", "budget=exact"]) == 0
    assert by_strategy(served) == by_strategy(local)
    # As much is attributed: what a strategy costs alone hangs on no engine.
    sums = [pc.sum(Run(one).outcomes()["attributed_flops_exact"]).as_py() for one in (served, local)]
    assert sums[0] == sums[1] > 0
    assert not [one for one in served.rglob("*") if one.is_file() and KEY.encode() in one.read_bytes()]

    # The same model elsewhere: the folder goes on. Another name: it does not.
    before = set(drawn(served))
    elsewhere = server.serve("elsewhere", model, wants=KEY, served=["evaluated"])
    with without_ray():
        words_on = ["evaluate", *asks, f"policy.url={elsewhere}", f"folder={served}"]
        assert main([*words_on, "dataset.count=5"]) == 0
    assert set(drawn(served)) > before
    server.tell("elsewhere", served=["another"])
    capsys.readouterr()
    assert main(words_on) == 2
    assert 'policy.engine was "http evaluated" and is "http another"' in capsys.readouterr().err


def test_a_dry_run_tells_what_the_server_says(
    words: list[str], server: ServerProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = Path(next(word for word in words if word.startswith("policy.path=")).partition("=")[2])
    url = server.serve("told", model, hides_cached=True)
    asked = [
        "evaluate",
        *words,
        "policy.engine=http",
        f"policy.url={url}",
        f"folder={tmp_path / 'run'}",
        "--dry-run",
    ]
    assert main(asked) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"policy: - (it runs behind {url})" in out
    assert "policy.model=null (here told)" in out
    assert "the policy's server does not tell what came from its cache" in out
    assert main([*asked, "policy.context=300"]) == 2
    assert "the policy's own context is 256 tokens" in capsys.readouterr().err
