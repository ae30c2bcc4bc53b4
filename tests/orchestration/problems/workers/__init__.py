"""Tests of `orchestration.problems.workers`."""
