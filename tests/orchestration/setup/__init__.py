"""Tests of `orchestration.setup`."""
