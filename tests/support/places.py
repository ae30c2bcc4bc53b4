"""Where things lie in a checkout, for tests that are anywhere in it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models" / "arithmetic"
