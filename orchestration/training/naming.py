"""Mistakes in an evaluation's settings, told by the names that a command that trains has for them.

It knows nothing of what is trained. Invariant: a setting that has no other name here keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.errors import UserError


def as_here(error: UserError, names: Mapping[str, str]) -> UserError:
    """The same mistake: `names` has what a setting is called here, or those inside it begin with, by its own name."""
    field, equals, rest = str(error).partition(" = ")
    # The longer names first: some are the beginning of others.
    ordered = sorted(names, key=len, reverse=True)
    known = next((one for one in ordered if f"{field}.".startswith(f"{one}.")), None)
    if not equals or known is None:
        return error
    for theirs in ordered:
        rest = rest.replace(theirs, names[theirs])
    return UserError(f"{names[known]}{field[len(known) :]} = {rest}")
