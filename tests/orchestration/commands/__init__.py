"""Tests of `orchestration.commands`."""
