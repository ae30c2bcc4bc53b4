"""How many of the causal models that transformers knows flopwise can count the FLOPs of, and why not the others.

    python -m tests.benchmarks.model_types

Each type of model is counted with its default config, on the meta device: no weight is made, and a few gigabytes of memory
are enough. It takes some minutes.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import defaultdict
from collections.abc import Iterable

import transformers
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from actors.errors import UserError
from orchestration.flops import ModelCost

EXACT, PAPER = "by both accountings", "by the paper's accounting alone"


def how_counted(kind: str) -> str:
    """By which accountings a type's default config is counted, or why it is not."""
    try:
        config = json.loads(AutoConfig.for_model(kind).to_json_string())
        return EXACT if ModelCost.from_config(config).exact_known else PAPER
    except UserError as error:
        return "refused: " + _kind_of(str(error))
    except Exception as error:  # a type without a default config
        return f"refused: transformers makes no default config of it ({type(error).__name__})"


def count(kinds: Iterable[str]) -> dict[str, list[str]]:
    """The types by how they are counted."""
    found: dict[str, list[str]] = defaultdict(list)
    for kind in kinds:
        found[how_counted(kind)].append(kind)
    return found


def _kind_of(message: str) -> str:
    """A refusal without the type that it names, and without what its family's code said."""
    return message.partition(": ")[2].partition(" (")[0]


def main() -> None:
    logging.disable(logging.WARNING)
    kinds = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    found = count(kinds)
    print(f"transformers {transformers.__version__}: {len(kinds)} types of causal models")
    for how in sorted(found, key=lambda how: (how != EXACT, how != PAPER, -len(found[how]))):
        print(f"{len(found[how]):4}  {how}")
        if how != PAPER:
            print(f"      {', '.join(found[how])}")


if __name__ == "__main__":
    sys.exit(main())
