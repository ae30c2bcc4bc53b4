"""How tests are shared out where several processes run them (`pytest -n 2`).

Tests of one file share its slow fixtures, so they go to one process. Those that start Ray all go to one, the first, and one
Ray is up at a time: its processes look for each other with deadlines, which a machine that is too busy exceeds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.support.served import KEY, KEY_VARIABLE, ServerProcess, shared_server

ON_RAY = {
    "tests/actors/cluster/test_cluster.py",
    "tests/actors/cluster/test_revisions.py",
    "tests/actors/cluster/test_vllm_cluster.py",
    "tests/faults/test_faults.py",
    "tests/orchestration/commands/test_stopping.py",
    "tests/orchestration/commands/test_vllm_job.py",
    "tests/orchestration/runs/test_evaluation.py",
    "tests/orchestration/runs/test_extension.py",
    "tests/orchestration/runs/test_pricing.py",
    "tests/orchestration/runs/test_served.py",
    "tests/orchestration/setup/test_own_package.py",
    "tests/orchestration/strategies/test_new_strategy.py",
    "tests/test_docs_run.py",
    "tests/test_wheel.py",
}
"""Files with tests that start Ray, here or in a process of their own."""
RAY = "ray"


def pytest_configure() -> None:
    # Processes of xdist are told how wide the screen is, and a command would fold its tables to that.
    os.environ.pop("COLUMNS", None)
    os.environ[KEY_VARIABLE] = KEY
    # An example takes as long as a busy machine has it take.
    settings.register_profile("unhurried", deadline=None)
    settings.load_profile("unhurried")


def ray_is_up() -> bool:
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


@pytest.fixture(autouse=True)
def ray_is_started_where_it_is_known(request: pytest.FixtureRequest) -> Iterator[None]:
    before = ray_is_up()
    yield
    known = request.node.nodeid.partition("::")[0] in ON_RAY
    assert known or before or not ray_is_up(), "this file starts Ray: name it in ON_RAY"


@pytest.fixture(scope="session")
def server() -> ServerProcess:
    """Serves token ids of whichever model it is told."""
    return shared_server()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return RAY if file in ON_RAY else file

        def _assign_work_unit(self, node: Any) -> None:
            # What takes longest begins first; the queue goes by the number of tests.
            if RAY in self.workqueue:
                self.workqueue.move_to_end(RAY, last=False)
            super()._assign_work_unit(node)

    return ByFile(config, log)
