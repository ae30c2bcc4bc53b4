"""Tests of `orchestration.problems.graders`."""
