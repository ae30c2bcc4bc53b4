"""The columns of a run on disk: a public interface. More may join; these keep their names and meaning.

`OUTCOMES` has a row per problem, strategy and seed; `CANDIDATES` a row per candidate; `LEDGER` rows per settled or lost
attempt, in FLOPs of the budget's accounting, by what they went for and what came of them; `SAMPLES` a row per drawn
continuation and `SCORES` one per scored step, or prompt that was judged alone, under keys that name all that decides them, so
that no run has to make them again; `DECISIONS` a row per decision of a strategy with a plan. FLOPs are whole numbers of up to
38 digits, more than 64 bits hold; columns with `_exact` count prefill, decode and attention with cached prefixes free, the
others 2 x parameters a token; they are 0 where a model's shape is not known.
"""

from __future__ import annotations

import pyarrow as pa

RUN_FORMAT = 3

FLOPS = pa.decimal128(38, 0)
"""FLOPs on disk. Parts of earlier versions have them as int64; whoever names the schema reads both."""

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
        ("spent_flops", FLOPS),
        ("attributed_flops", FLOPS),
        ("spent_flops_exact", FLOPS),
        ("attributed_flops_exact", FLOPS),
        ("wall_seconds", pa.float64()),
        ("difficulty", pa.float64()),
        ("bin", pa.int32()),
        ("ended", pa.int32()),
        ("unreadable", pa.int32()),
        ("single_step", pa.int32()),
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
        ("ballot", pa.string()),
    ]
)
"""`ballot` says which answers a candidate votes with; null: with those that read the same, as in parts of earlier
versions."""

LEDGER = pa.schema(
    [
        ("task_id", pa.string()),
        ("attempt", pa.int32()),
        ("lease", pa.int64()),
        ("purpose", pa.string()),
        ("kind", pa.string()),
        ("flops", FLOPS),
        ("reason", pa.string()),
    ]
)

SAMPLES = pa.schema(
    [
        ("key", pa.binary(16)),
        ("problem_id", pa.string()),
        ("seed", pa.int64()),
        ("place", pa.list_(pa.int32())),
        ("start", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("finish_reason", pa.string()),
        ("certainties", pa.list_(pa.float32())),
    ]
)
"""`place` is the draw's path of child indices in its search, `start` the tokens of the solution before it. `certainties` have
the self-certainty of each token; null: nobody measured it, as in parts of earlier versions."""

SCORES = pa.schema(
    [
        ("key", pa.binary(16)),
        ("problem_id", pa.string()),
        ("value", pa.float64()),
        ("written", pa.list_(pa.int32())),
        ("left", pa.list_(pa.int32())),
    ]
)
"""`written` has the tokens that a judge wrote for a score, one number a chain, and `left` the ids of those that the judgement
of the next step reads; null: it wrote none, or leaves none, as in parts of earlier versions."""

DECISIONS = pa.schema(
    [
        ("key", pa.string()),
        ("problem_id", pa.string()),
        ("strategy", pa.string()),
        ("seed", pa.int64()),
        ("index", pa.int32()),
        ("stage", pa.string()),
        ("cell", pa.int32()),
        ("chance", pa.float64()),
        ("price", pa.float64()),
        ("option", pa.string()),
        ("gain", pa.float64()),
        ("flops", FLOPS),
        ("repeated", pa.bool_()),
    ]
)
"""The decisions of an outcome by `index`, from 0. Of an outcome that was made again all stand here again, behind the earlier
ones: those it `repeated`, and those it came to after them. `option` null: it stopped."""

TABLES = {
    "samples": SAMPLES,
    "scores": SCORES,
    "decisions": DECISIONS,
    "candidates": CANDIDATES,
    "ledger": LEDGER,
    "outcomes": OUTCOMES,
}
"""In the order in which their parts are renamed: the outcomes' part is what says that all of them count."""
