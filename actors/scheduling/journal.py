"""The scheduler's line to the run writer: what many replicas' exchanges have to write travels as one commit.

While one commit is on its way the next one gathers, so the disk is asked as often as it can answer and no more. It knows
nothing of leases or outcomes. Invariant: `write` returns when what it was given is durable, in the order it was given.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from actors.errors import UserError
from actors.messages import Books, Commit

COMMIT_TIMEOUT_S = 300.0
"""Seconds that the writer may take: it makes parts of a whole log segment now and then."""


class WriterFailed(UserError):
    """The run writer cannot write, or is gone: the run cannot go on, and its folder can be gone on with."""


class WriterClient(Protocol):
    """The run writer as the scheduler sees it."""

    async def commit(self, commit: Commit) -> list[str]:
        """Make it durable; the tasks whose record is not staged did not settle, and are named."""

    async def take_over(self) -> Books: ...


class Journal:
    """Group commit over a writer. Whatever keeps the writer from answering is raised as WriterFailed."""

    def __init__(self, writer: WriterClient, *, deadline: float = COMMIT_TIMEOUT_S) -> None:
        self._writer, self._deadline = writer, deadline
        self._gathered: list[Commit] = []
        self._next: asyncio.Future[list[str]] | None = None
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def take_over(self) -> Books:
        """Where the run stands on disk."""
        try:
            return await asyncio.wait_for(self._writer.take_over(), self._deadline)
        except Exception as error:
            raise _failed(error) from error

    async def write(self, commit: Commit) -> list[str]:
        """Make it durable, with whatever gathers meanwhile; return the tasks whose record was not staged."""
        self._gathered.append(commit)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._send(self._next))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(self._next)

    async def _send(self, answer: asyncio.Future[list[str]]) -> None:
        async with self._sending:
            gathered, self._gathered, self._next = self._gathered, [], None
            whole = Commit(
                holds=tuple(one for commit in gathered for one in commit.holds),
                settled=tuple(one for commit in gathered for one in commit.settled),
                losses=tuple(one for commit in gathered for one in commit.losses),
                given_up=tuple(one for commit in gathered for one in commit.given_up),
                life=gathered[0].life,
            )
            try:
                missing = await asyncio.wait_for(self._writer.commit(whole), self._deadline)
            except Exception as error:
                answer.set_exception(_failed(error))
            else:
                answer.set_result(missing)


def _failed(error: Exception) -> WriterFailed:
    if isinstance(error, UserError):
        return WriterFailed(str(error))
    why = (
        "it does not answer" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"[:300]
    )
    return WriterFailed(f"the run writer failed ({why}); the same command goes on where it stopped")
