"""Classes and functions of a user's own, named by their path: imported, and their parameters checked before they are called.

It knows nothing of what they make. Invariant: whatever is wrong with a name or a parameter is one UserError that names it;
what a user's module itself raises on import, other than ImportError, is theirs to see.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import socket
from collections.abc import Callable, Collection, Iterable

from actors.errors import UserError, nearest

Maker = Callable[..., object]


def imported(field: str, given: object, name: str) -> Maker:
    """Import what `my.module.Class` names. `field` and `given` are what a UserError names as set by the user."""
    module_name, _, attribute = name.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in name.split(".")):
        raise UserError.of(
            field, given, "must be the path of a class or function, as in my_package.module.Class"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        mend = f"cannot import {module_name}: {error}; name its package in cluster.packages, or install it everywhere"
        raise UserError.of(field, given, mend) from None
    maker: object = getattr(module, attribute, None)
    if not callable(maker):
        mend = f"{module_name} has no class {attribute!r}{nearest(attribute, vars(module))}"
        raise UserError.of(field, given, mend)
    return maker


def parameters(maker: Maker) -> list[inspect.Parameter] | None:
    """What it takes; None where it does not tell, as some classes written in C."""
    try:
        return list(inspect.signature(maker).parameters.values())
    except ValueError:
        return None


def check_arguments(
    field: str, given: object, name: str, maker: Maker, arguments: Collection[str], example: str
) -> None:
    """Raise UserError for arguments that `maker` does not take or that it misses; `example` shows how one is given, with
    {} for its name."""
    taken = parameters(maker)
    if taken is None:
        # Then the call itself has to tell.
        return
    known = [p.name for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind == p.VAR_KEYWORD for p in taken)
    for argument in arguments:
        if argument not in known and not takes_any:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            mend = f"{name} has no parameter {argument!r}{nearest(argument, known)}; {takes}"
            raise UserError.of(field, given, mend)
    for p in taken:
        if p.name in known and p.default is p.empty and p.name not in arguments:
            raise UserError.of(field, given, f"{name} needs {p.name}, as in {example.format(p.name)}")


def check_here(field: str, pickled: Iterable[tuple[str, bytes]]) -> None:
    """Raise UserError, with the machine's name, for the first of these (text, pickled object) that this process cannot read,
    for want of its class."""
    for text, data in pickled:
        try:
            pickle.loads(data)
        except (ImportError, AttributeError) as error:
            mend = (
                f"its class is not to be had on {socket.gethostname()} ({error}): name its package in cluster.packages, or "
                "install it on every machine"
            )
            raise UserError.of(field, text, mend) from None
