"""Early-stopping self-consistency: samples in windows, until one window agrees (Li et al., ICLR 2024, arXiv 2401.10480).

The paper stops as soon as the answers of one window have no entropy, and draws at most n samples. Its released scripts
count an answer that cannot be read as an answer like others, and take that of the window that agreed; here such a
sample agrees with nothing, and the answer is the majority of all that was drawn, which differs only where earlier
windows were for another one.

It knows nothing of tokens. Invariant: it draws the samples that `majority` draws, in order, each one generation, at most
n of them and no verifier; where no window agrees, its answer is that of `majority`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.errors import UserError
from actors.strategy import Candidate, Forecast, Grouping, Models, Prompt, PurseEmpty, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import solution_of, together, whole_sample
from orchestration.strategies.selection import majority, same_answers
from orchestration.strategies.settings import canonical, check_count, check_temperature, check_top_p


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """At most `n` whole samples, `window` at once; no further ones after a window whose samples all finished with one
    answer.

    The samples of a window run at once, windows one after another. The last one has what is left of `n`. A window above
    `n` never stops early. The default is the paper's for arithmetic tasks.
    """

    n: int
    window: int = 5
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_count("early_stopping.n", self.n)
        check_count("early_stopping.window", self.window)
        if self.window == 1:
            raise UserError.of(
                "early_stopping.window", 1, "must be at least 2: one sample always agrees with itself"
            )
        object.__setattr__(
            self, "temperature", check_temperature("early_stopping.temperature", self.temperature)
        )
        object.__setattr__(self, "top_p", check_top_p("early_stopping.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("early_stopping", self, always=("n", "window"))

    @property
    def uses_verifier(self) -> bool:
        return False

    @property
    def sequences(self) -> int:
        return min(self.window, self.n)

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, self.n)

    def forecast(self, typical: int, most: int) -> Forecast:
        """As if it never stopped before n."""
        return forecasting.samples(self.n, Sampling(self.temperature, self.top_p), typical)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Costs as many generations as samples were drawn. Raises PurseEmpty where not one could be.

        A sample that the purse refused ends it, too: no further window begins.
        """
        sampling = Sampling(self.temperature, self.top_p)
        candidates: list[Candidate] = []
        for start in range(0, self.n, self.window):
            size = min(self.window, self.n - start)
            drawn = await together(
                whole_sample(models, index, sampling, with_scores=False)
                for index in range(start, start + size)
            )
            window = [candidate for candidate in drawn if candidate is not None]
            candidates += window
            if len(window) < size or _agree(window):
                break
        if not candidates:
            raise PurseEmpty("the purse was empty before the first candidate")
        return solution_of(tuple(candidates), majority(candidates))


def _agree(window: Sequence[Candidate]) -> bool:
    """Whether all finished, and with the same readable answer."""
    answers = [one.answer for one in window if one.finish == "eos" and one.answer is not None]
    return len(answers) == len(window) and len(set(same_answers(answers))) == 1
