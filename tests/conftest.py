"""How tests are shared out where several processes run them (`pytest -n 2 --dist loadgroup`).

Tests of one file share its slow fixtures, so they go to one process. The pages of the documentation make their own runs,
and go wherever there is time.
"""

from __future__ import annotations

import pytest

SPREAD = {"test_docs_run.py"}
"""Files whose tests share nothing that is slow to make."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name not in SPREAD:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
