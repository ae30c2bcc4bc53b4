"""The verifier's value at the end of each prompt of a run: difficulty at zero samples, where a verifier has one.

It is told after the run, by the verifier that the run had, and kept in the run's folder for whoever asks next. It knows run
folders and engines. Invariant: a prompt is scored by the token ids that the policy was given, or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.engines.base import ScoreRequest, VerifierEngine
from actors.errors import UserError
from actors.store.log import reading
from actors.store.writer import write_part
from orchestration.runs.folder import writing
from orchestration.runs.run import Run

FILE = "prompt_values.parquet"
SCHEMA = pa.schema([("problem_id", pa.string()), ("value", pa.float64())])

Tell = Callable[[str, int, int], None]

_BATCH = 64

_JUDGES_NONE = "its verifier judges no prompt before a step: leave it out, or train one that does"

_CONFIDENCE = "its verifier is the policy's own confidence, and of a prompt alone there is none: leave it out"


class NotJudged(UserError):
    """Nothing tells the values of a run's prompts, and why."""


def stored_values(run: Run) -> dict[str, float]:
    """What was told before, by problem; empty where nothing was."""
    file = run.folder / FILE
    if not file.is_file():
        return {}
    with reading(file):
        table = pq.read_table(file, schema=SCHEMA)
    return dict(zip(table["problem_id"].to_pylist(), table["value"].to_pylist(), strict=True))


def prompt_values(run: Run, tell: Tell = lambda what, done, of: None) -> dict[str, float]:
    """The values of all prompts of a run; those that are not stored yet are told by its verifier, and stored.

    Raises NotJudged where the run has no verifier, or another one lies where it was, or one that judges no prompt.
    """
    known = stored_values(run)
    rows = run.problems(["problem_id", "prompt", "prompt_tokens"]).to_pylist()
    left = [row for row in rows if row["problem_id"] not in known]
    if not left:
        return known
    tell("loading the verifier", 0, len(left))
    found = known | asyncio.run(_told(run, left, tell))
    table = pa.table(
        {"problem_id": list(found), "value": list(found.values())},
        schema=SCHEMA,
    )
    with writing(run.folder):
        write_part(table, run.folder / FILE)
    return found


async def _told(run: Run, rows: list[dict[str, object]], tell: Tell) -> dict[str, float]:
    verifier = _verifier(run)
    try:
        ids = _ids(run, rows)
        found: dict[str, float] = {}
        for at in range(0, len(rows), _BATCH):
            tell("judging prompts", at, len(rows))
            part = rows[at : at + _BATCH]
            requests = [
                ScoreRequest(ids[str(row["problem_id"])], len(ids[str(row["problem_id"])]), ())
                for row in part
            ]
            scores = await asyncio.gather(*map(verifier.score, requests))
            for row, score in zip(part, scores, strict=True):
                if score.prompt is None:
                    raise NotJudged(_JUDGES_NONE)
                found[str(row["problem_id"])] = score.prompt
        return found
    finally:
        await verifier.close()


def _verifier(run: Run) -> VerifierEngine:
    """The run's verifier, loaded here."""
    from actors.engines.loading import load_verifier
    from actors.engines.model_config import model_hash
    from actors.engines.plan import ModelPlan

    told, identity = run.info.get("models", {}).get("verifier"), run.info["identity"]
    if told is None and identity.get("verifier"):
        raise NotJudged(_CONFIDENCE)
    if told is None:
        raise NotJudged(f"{run.folder} had no verifier: leave it out")
    path = Path(told["path"])
    if path.is_dir() and not (path / "value_head.json").is_file():
        raise NotJudged(_JUDGES_NONE)
    if not path.is_dir() or model_hash(path) != identity["verifier"]:
        mend = f"the verifier of {run.folder} is not at {path} any more: put it back, or leave this out"
        raise NotJudged(mend)
    return load_verifier(ModelPlan(path=path, dtype=identity["verifier_dtype"]))


def _ids(run: Run, rows: list[dict[str, object]]) -> dict[str, tuple[int, ...]]:
    """The token ids of prompts, read back from their texts, special tokens and all."""
    from transformers import AutoTokenizer

    folder = run.info["models"]["policy"]["path"]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    found = {}
    for row in rows:
        ids = tuple(tokenizer.encode(row["prompt"] or "", add_special_tokens=False))
        # As many as the policy was given: the text of a prompt need not tell its ids with every tokenizer.
        if len(ids) != row["prompt_tokens"]:
            mend = f"the prompt of {row['problem_id']} cannot be read back from its text: leave it out"
            raise NotJudged(mend)
        found[str(row["problem_id"])] = ids
    return found
