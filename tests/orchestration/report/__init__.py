"""Tests of `orchestration.report`."""
