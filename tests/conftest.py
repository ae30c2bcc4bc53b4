"""How tests are shared out where several processes run them (`pytest -n 2`).

Tests of one file share its slow fixtures, so they go to one process. The pages of the documentation make their own runs,
and go wherever there is time.
"""

from __future__ import annotations

from typing import Any

import pytest

SPREAD = {"tests/test_docs_run.py"}
"""Files whose tests share nothing that is slow to make."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file in SPREAD else file

    return ByFile(config, log)
