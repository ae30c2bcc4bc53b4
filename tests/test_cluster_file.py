"""The cluster file is one that Ray takes, and says what matters to us."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.support.places import ROOT


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return config


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(cluster))


def test_a_typo_would_not_be_accepted(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="max_wokers"):
        validate_config(prepare_config(cluster | {"max_wokers": 3}))


def test_tokens_are_on_and_the_dashboard_stays_on_loopback(cluster: dict[str, Any]) -> None:
    starts = [cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]]
    assert all("RAY_AUTH_MODE=token" in start for start in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert any(".ray/auth_token" in target for target in cluster["file_mounts"])


def test_replicas_stay_off_the_head_and_gpus_are_spot(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"]["CPU"] == 0
    assert types["gpu"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"


def test_nodes_run_the_ray_that_the_project_asks_for(cluster: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [ray] = [d for d in project["dependencies"] if d.startswith("ray")]
    assert f"ray[default]{ray.removeprefix('ray')}" in cluster["setup_commands"][0]
