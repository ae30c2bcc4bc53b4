"""Tests of `orchestration.problems.datasets`."""
