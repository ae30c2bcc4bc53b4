"""Which of two classes is the good one, by the names that a model's config gives them.

It reads a config alone. Invariant: names that nobody knows, as LABEL_0 and LABEL_1, leave the second one the good one, as the
trainers of such models have it.
"""

from __future__ import annotations

from pathlib import Path

from actors.engines.folder_files import read_settings
from actors.errors import UserError

_GOOD = frozenset({"correct", "right", "true", "yes", "positive", "pos", "good", "+", "1", "+1"})
_BAD = frozenset({"incorrect", "wrong", "false", "no", "negative", "neg", "bad", "-", "0", "-1"})


def good_class(folder: Path) -> int:
    """The number of the good one of a folder's two classes. Raises UserError where both are called good, or both bad."""
    given = read_settings(folder, "config.json").get("id2label")
    if not isinstance(given, dict) or not {"0", "1"} <= given.keys():
        return 1
    names = [str(given[number]).strip().lower() for number in ("0", "1")]
    for said, known in (("good", _GOOD), ("bad", _BAD)):
        if known.issuperset(names):
            both = f"({given['0']!r} and {given['1']!r})"
            mend = (
                f"id2label in its config.json calls both classes {said} {both}: name them there by what they are, as in "
                '{"0": "incorrect", "1": "correct"}'
            )
            raise UserError.of("verifier.path", str(folder), mend)
    return 0 if names[0] in _GOOD or names[1] in _BAD else 1
