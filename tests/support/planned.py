"""Runs that planning can learn from: made by hand, with the costs of the bundled models, and plans of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestration.flops import ModelCost
from tests.support.handmade import write_run
from tests.support.places import ROOT

_MODELS = ROOT / "models" / "arithmetic"


def write_planned(folder: Path, *, problems: int = 60, **more: Any) -> Path:
    """A finished run of whole samples (best_of_n(n=16)) and beams, as `flopwise evaluate` would have left it."""
    write_run(folder, problems=problems, **more)
    costs = {
        role: {"path": str(_MODELS / name), "cost": asdict(ModelCost.from_folder(_MODELS / name))}
        for role, name in (("policy", "policy"), ("verifier", "prm"))
    }
    record = json.loads((folder / "run.json").read_text())
    record |= {
        "models": costs,
        "dataset": "made by hand",
        "identity": {
            "policy": "p0",
            "verifier": "v0",
            "grader": "number-1",
            "prompt": "{}",
            "delimiter": "\n",
            "max_tokens": 256,
        },
        "settings": {"budget.unit": "paper"},
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder
