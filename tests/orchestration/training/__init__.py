"""Tests of `orchestration.training`."""
