"""Tests of `orchestration.strategies.search`."""
