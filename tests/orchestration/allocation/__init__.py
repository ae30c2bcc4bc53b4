"""Tests of `orchestration.allocation`."""
