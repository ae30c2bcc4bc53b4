"""Tests of `orchestration.problems.sandbox`."""
