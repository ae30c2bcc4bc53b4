"""Tests of `orchestration.analysis`."""
