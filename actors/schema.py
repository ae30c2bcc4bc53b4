"""The columns of a run on disk: a public interface. More may join; these keep their names and meaning.

`OUTCOMES` has a row per problem, strategy and seed; `CANDIDATES` a row per candidate; `LEDGER` a row per settled or lost
attempt, in FLOPs of the budget's accounting. FLOPs are whole numbers as int64;
columns with `_exact` count prefill, decode and attention with cached prefixes free, the others 2 x parameters a token.
"""

from __future__ import annotations

import pyarrow as pa

RUN_FORMAT = 1

OUTCOMES = pa.schema(
    [
        ("key", pa.string()),
        ("problem_id", pa.string()),
        ("strategy", pa.string()),
        ("seed", pa.int64()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("answer", pa.string()),
        ("correct", pa.bool_()),
        ("generations", pa.int32()),
        ("truncated", pa.int32()),
        ("policy_tokens", pa.int64()),
        ("reviser_tokens", pa.int64()),
        ("verifier_tokens", pa.int64()),
        ("kept_tokens", pa.int64()),
        ("attributed_tokens", pa.int64()),
        ("spent_flops", pa.int64()),
        ("attributed_flops", pa.int64()),
        ("spent_flops_exact", pa.int64()),
        ("attributed_flops_exact", pa.int64()),
        ("wall_seconds", pa.float64()),
        ("difficulty", pa.float64()),
        ("bin", pa.int32()),
    ]
)

CANDIDATES = pa.schema(
    [
        ("key", pa.string()),
        ("problem_id", pa.string()),
        ("strategy", pa.string()),
        ("seed", pa.int64()),
        ("index", pa.int32()),
        ("parent", pa.int32()),
        ("depth", pa.int32()),
        ("steps", pa.list_(pa.string())),
        ("step_tokens", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("scores", pa.list_(pa.float32())),
        ("finish_reason", pa.string()),
        ("answer", pa.string()),
        ("correct", pa.bool_()),
        ("tokens", pa.int32()),
        ("kept", pa.bool_()),
    ]
)

LEDGER = pa.schema(
    [
        ("task_id", pa.string()),
        ("attempt", pa.int32()),
        ("kind", pa.string()),
        ("flops", pa.int64()),
        ("reason", pa.string()),
    ]
)
