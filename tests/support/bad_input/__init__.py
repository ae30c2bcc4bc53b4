"""Every mistake that docs/errors.md names, made on purpose. Read cases; importing the package adds them all."""

from tests.support.bad_input import (
    confidence,
    data,
    machine,
    models,
    own_classes,
    plans,
    prices,
    served,
    training,
    words,
)

__all__ = [
    "confidence",
    "data",
    "machine",
    "models",
    "own_classes",
    "plans",
    "prices",
    "served",
    "training",
    "words",
]
