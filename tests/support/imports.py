"""What a process has imported by the time it has done something: the test's own has everything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def loaded_by(code: str, names: Sequence[str]) -> list[str]:
    """Those of these modules that a fresh process has loaded once it has run the code."""
    asking = f"{code}\nimport sys\nprint(*[name for name in {tuple(names)!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()
