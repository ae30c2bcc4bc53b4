"""What a strategy made of others hands them in place of its own models: some clients of its choice, all else as it is.

It knows clients, nothing of strategies. Invariant: reader, market and seed are those of the models behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.strategy import Market, Models, Reader


@dataclass(slots=True)
class View:
    """The part of `Models` that every view passes through; the clients are each view's own."""

    models: Models

    @property
    def reader(self) -> Reader:
        return self.models.reader

    @property
    def market(self) -> Market:
        return self.models.market

    @property
    def seed(self) -> int:
        return self.models.seed
