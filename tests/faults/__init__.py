"""Processes of real runs, killed. Assertions outside the test files say what they met too."""

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in ("job", "reading", "trials")))
