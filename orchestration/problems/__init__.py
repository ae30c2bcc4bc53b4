"""Problems and graders: where questions come from, how they are split, and when an answer is right.

Knows nothing of models and strategies; `load` makes a dataset from plain values, as a config file holds them.
"""

from __future__ import annotations

from orchestration.problems.datasets.arithmetic import ArithmeticSource
from orchestration.problems.datasets.columns import Columns
from orchestration.problems.datasets.countdown import CountdownSource
from orchestration.problems.datasets.generated import Generated, Source
from orchestration.problems.datasets.gym import GsmSymbolicSource, GymSource
from orchestration.problems.datasets.load import load
from orchestration.problems.datasets.tables import Quarantined, Table
from orchestration.problems.graders.choice import ChoiceGrader
from orchestration.problems.graders.choose import judge_of, make_grader, why_unread
from orchestration.problems.graders.code import CodeGrader
from orchestration.problems.graders.countdown import CountdownGrader
from orchestration.problems.graders.grader import Grader
from orchestration.problems.graders.gym import GymGrader
from orchestration.problems.graders.math import MathGrader
from orchestration.problems.graders.number import NumberGrader
from orchestration.problems.graders.text import TextGrader
from orchestration.problems.problem import SPLITS, Dataset, Problem, split_of
from orchestration.problems.prompting import PromptFormat, solution_ids

__all__ = [
    "SPLITS",
    "ArithmeticSource",
    "ChoiceGrader",
    "CodeGrader",
    "Columns",
    "CountdownGrader",
    "CountdownSource",
    "Dataset",
    "Generated",
    "Grader",
    "GsmSymbolicSource",
    "GymGrader",
    "GymSource",
    "MathGrader",
    "NumberGrader",
    "Problem",
    "PromptFormat",
    "Quarantined",
    "Source",
    "Table",
    "TextGrader",
    "judge_of",
    "load",
    "make_grader",
    "solution_ids",
    "split_of",
    "why_unread",
]
