"""The cluster file is one that Ray takes, and says what matters to us; its nodes hold the models that it names."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from actors.strategy import Role
from orchestration.api import settings_of
from orchestration.setup.footprint import TOGETHER, shared_gpu, token_bytes, weight_count
from orchestration.setup.memory import size_of
from orchestration.setup.settings import EvaluateSettings
from tests.support.places import ROOT

GPU_BYTES = {"g6.4xlarge": 23_034 << 20}
"""Of the GPU of an instance type, as nvidia-smi tells it: one L4."""

CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen2.5-Math-1.5B-Instruct": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "Qwen2.5-Math-PRM-7B": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}
"""What counts of their config.json."""

HEADS = {"Qwen2.5-Math-PRM-7B": (3584 * 3584 + 3584 * 2, 3584 + 2)}
CONTEXT = 4096


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


def test_vllm_weights_and_results_are_where_the_example_looks(cluster: dict[str, Any]) -> None:
    setup = cluster["setup_commands"]
    assert '-e ".[vllm]"' in setup[0]
    fetched = {words[-1] for words in map(str.split, setup) if "download" in words}
    settings = example()
    named = {
        path.replace("/home/ubuntu", "~") for path in (settings.policy.path, settings.verifier.path or "")
    }
    assert fetched == named == {f"~/models/{name}" for name in CONFIGS}
    assert any("mkdir -p ~/models ~/results" in line for line in setup)
    # The head's disk is gone with it.
    told = (ROOT / "cluster.yaml").read_text()
    assert told.index("ray rsync-down") < told.index("ray down cluster.yaml\n")
    assert "folder=/home/ubuntu/results" in told


def example() -> EvaluateSettings:
    """The settings of the command that the file shows."""
    head = (ROOT / "cluster.yaml").read_text().partition("\ncluster_name")[0]
    text = " ".join(line.removeprefix("#").strip().removesuffix("\\") for line in head.splitlines())
    [command] = re.findall(r"flopwise doctor (.*?)'", text)
    return settings_of(shlex.split(command))


def test_a_node_holds_the_models_of_the_example(cluster: dict[str, Any]) -> None:
    settings = example()
    gpu = GPU_BYTES[cluster["available_node_types"]["gpu"]["node_config"]["InstanceType"]]
    shares = {"policy": settings.cluster.policy, "verifier": settings.cluster.verifier}
    on_one = shared_gpu(shares)  # type: ignore[arg-type]
    assert dict(on_one.replicas) == {"policy": 1, "verifier": 1}
    assert on_one.share <= TOGETHER + 1e-9
    page = (ROOT / "docs" / "cluster.md").read_text()
    rows = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in _cells(page)}
    for column, role in enumerate(("policy", "verifier")):
        name = str(getattr(settings, role).path).rpartition("/")[2]
        assert rows[""][column] == name
        config = CONFIGS[name] | {"model_type": "qwen2", "num_hidden_layers": 28}
        count, token = weight_count(config, HEADS.get(name)), token_bytes(config, 2)
        share = shares[role].of_gpu
        room = share * gpu - 2 * count
        assert room > 8 * CONTEXT * token, "a few sequences at least"
        assert [rows[what][column] for what in rows if what] == [
            f"{count:,}",
            f"{2 * count / 1e9:.1f} GB",
            f"{token:,} bytes",
            size_of(CONTEXT * token),
            f"{share:.2f}, which is {share * gpu / 1e9:.1f} GB",
            f"{room / 1e9:.1f} GB, so {room // (CONTEXT * token):.0f}"
            + (" sequences of 4,096" if column == 0 else ""),
        ]


def _cells(page: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    return [line.strip("|").split("|") for line in lines]


def test_the_shares_of_half_a_gpu_would_not_hold_them() -> None:
    """Why the example sets them: the verifier's weights alone are more than 0.45 of the GPU."""
    config = CONFIGS["Qwen2.5-Math-PRM-7B"] | {"model_type": "qwen2", "num_hidden_layers": 28}
    half: dict[Role, Any] = {"verifier": settings_of(["cluster=gpu"]).cluster.verifier}
    taken = half["verifier"].of_gpu * GPU_BYTES["g6.4xlarge"]
    assert taken < 2 * weight_count(config, HEADS["Qwen2.5-Math-PRM-7B"])
