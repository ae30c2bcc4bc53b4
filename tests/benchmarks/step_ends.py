"""How many of the boundaries of steps are seen with byte-level vocabularies: in the text, and by a token that ends in one.

    python -m tests.benchmarks.step_ends

The texts are made-up solutions with an empty line between their steps; each vocabulary is trained on them and cuts newlines
in another way.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from actors.engines.text_ends import TextEnds, pieces
from tests.support.step_texts import CUTS, DELIMITER, step_count, texts, tokenizer_of


@dataclass(frozen=True, slots=True)
class Seen:
    """Boundaries between steps that are not blank: all, those that are seen in the text, and those by one token alone."""

    all: int
    in_text: int
    by_token: int


def count(cut: str) -> Seen:
    """The count with one vocabulary."""
    tokenizer = tokenizer_of(cut)
    known = pieces(tokenizer.backend_tokenizer)
    ends = TextEnds(known, [DELIMITER])
    sign = DELIMITER.encode()
    alone = {i for i, one in enumerate(known) if sign in one and not one.rpartition(sign)[2].strip()}
    whole = in_text = by_token = 0
    for text in texts():
        ids = tokenizer.encode(text)
        found = list(ends.ends(ids))
        cuts = [0, *found, len(ids)]
        steps = [tokenizer.decode(ids[a:b]) for a, b in pairwise(cuts)]
        whole += step_count(text) - 1
        in_text += sum(bool(step.strip()) for step in steps) - 1
        by_token += sum(
            ids[end - 1] in alone for end, step in zip(found, steps, strict=False) if step.strip()
        )
    return Seen(whole, in_text, by_token)


def main() -> None:
    print("vocabulary: boundaries, seen in the text, seen by one token alone")
    for cut in CUTS:
        seen = count(cut)
        print(f"{cut}: {seen.all:,}, {seen.in_text:,}, {seen.by_token:,}")


if __name__ == "__main__":
    main()
