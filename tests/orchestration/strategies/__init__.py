"""Tests of `orchestration.strategies`."""
