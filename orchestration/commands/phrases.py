"""How a run's state is put in words, by whichever view shows it: a length of time, what it waits for, what was lost.

It knows readings and counts, nothing of terminals. Invariant: one thing is said in the same words everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.analysis.doubts import ENOUGH, doubts
from orchestration.report.tables import scientific
from orchestration.runs.gauge import STALL_S

if TYPE_CHECKING:
    from actors.work import Progress
    from orchestration.runs.gauge import Reading
    from orchestration.runs.run import InHand


def all_cut_off(progress: Progress) -> str:
    """That all samples so far were cut off, where that are enough to say so; else nothing."""
    policy = progress.of("policy")
    if policy.ended < ENOUGH or policy.cut_off < policy.ended:
        return ""
    return (
        f"all of the first {policy.ended:,} samples were cut off at policy.max_tokens: none came to an end token or another "
        "end. Give more tokens, end solutions by a text (policy.stop), or see whether the model needs a chat template "
        "(policy=chat)"
    )


def clock(seconds: float) -> str:
    """Seconds as 00:42, 12:05 or 3:07:00."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"


def why_it_waits(reading: Reading) -> list[str]:
    """What a run waits for, where it does: replicas that are not up, and, where nothing ends, the tasks longest in hand."""
    progress = reading.progress
    found = [f"waiting for {progress.waiting_for}"] if progress.waiting_for else []
    if reading.stalled and progress.oldest:
        named = ", ".join(f"{name} ({clock(age)})" for name, age in progress.oldest)
        found.append(f"nothing ended for {STALL_S:.0f} s; oldest tasks: {named}")
    return found


def warnings(reading: Reading) -> list[str]:
    """What a run waits for, and signs that its numbers will say little."""
    return [*why_it_waits(reading), *doubts(reading.progress.tallies, ENOUGH).values()]


def owed(lost: InHand) -> str:
    """What a run that does not go on had in hand."""
    what = f"{lost.tasks:,} tasks in hand were" if lost.tasks > 1 else "a task in hand was"
    it = "them" if lost.tasks > 1 else "it"
    return f"{what} lost; the next start charges {it} at most {scientific(float(lost.flops))} FLOPs"
