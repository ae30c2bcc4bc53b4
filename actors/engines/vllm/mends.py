"""What to do about what vLLM says as it refuses to start: its words, and the settings of ours that they ask for.

It knows messages and the names of settings, and imports nothing of vLLM. Invariant: without a mend that is known, vLLM's own
words are shown as they are.
"""

from __future__ import annotations

import re
from typing import Literal

ModelRole = Literal["policy", "verifier"]

LONGEST = 400
"""Characters of vLLM's words that are shown; of a second sentence less, where a mend of ours takes its place."""

_MENDS = (
    (
        r"estimated maximum model length is (?P<most>\d+)",
        "set policy.context to at most {most} (a prompt and its solution have room in it), or raise cluster.{role}.memory",
    ),
    (
        r"larger than the available kv cache memory",
        "raise cluster.{role}.memory, or lower policy.context (a prompt and its solution have room in it)",
    ),
    (
        r"no available memory for the cache blocks|serve even a single token",
        "raise cluster.{role}.memory, give its replicas more of a GPU (cluster.{role}.gpus), or take a smaller {role}",
    ),
    (
        r"less than desired (gpu|cpu) memory|memory used by other processes",
        "another process holds it: end that one, or lower cluster.{role}.memory",
    ),
    (
        r"out of memory|can(no|')t allocate memory|memoryerror",
        "lower cluster.{role}.max_sequences, take a smaller {role} or {role}.dtype=bfloat16, or spread it over GPUs "
        "(cluster.{role}.tensor_parallel)",
    ),
    (r"max_model_len .*greater than", "set policy.context to what it allows"),
    (r"bfloat16 is only supported", "set {role}.dtype=float16, or float32"),
    (
        r"(unknown|invalid|unsupported) dtype|dtype .*(not supported|unsupported)|supported dtypes",
        "set another {role}.dtype: float32, bfloat16 or float16",
    ),
    (
        r"architectures? .*(not supported|unknown)|unsupported architecture|model type .* not recogni[sz]e",
        "set {role}.engine=local, or take another {role}",
    ),
    (
        r"quantization.*(not supported|unsupported|invalid)|(not supported|unsupported|unknown|invalid).*quantization",
        "take the {role} unquantised (float32, bfloat16 or float16), or quantised in a way that vLLM runs on this device",
    ),
    (
        r"divisible by .*tensor",
        "set cluster.{role}.tensor_parallel, and cluster.{role}.gpus, to a number that divides them",
    ),
    (
        r"world size .*larger than the (total )?number of available gpus",
        "lower cluster.{role}.tensor_parallel and cluster.{role}.gpus to the GPUs that there are",
    ),
    (
        r"no cuda gpus are available|not compiled with cuda|found no nvidia driver|driver .*(insufficient|too old)",
        "set cluster.{role}.device=cpu, or mend the GPU's driver or torch",
    ),
)

_ADVICE = re.compile(
    r"[.,;]?\s+(?=Based on the available|Try (increasing|reducing|decreasing)|Decrease GPU|Supported architectures"
    r"|You can use float16|See https|On the CPU backend|To resolve|If reserved but unallocated)",
    re.IGNORECASE,
)


def mend_for(said: str, role: ModelRole) -> str:
    """What a user can set, where vLLM says this of the model of a role; empty where that is not known."""
    for words, mend in _MENDS:
        if found := re.search(words, said, re.IGNORECASE):
            return mend.format(role=role, **found.groupdict())
    return ""


def shortened(said: str, *, whole: bool) -> str:
    """vLLM's words in one line; unless it is to be `whole`, without its advice, which names options that it alone has."""
    line = " ".join(said.split())
    return (line if whole else _ADVICE.split(line, maxsplit=1)[0].rstrip("."))[:LONGEST]
