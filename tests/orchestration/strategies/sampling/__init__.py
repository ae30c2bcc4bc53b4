"""Tests of `orchestration.strategies.sampling`."""
