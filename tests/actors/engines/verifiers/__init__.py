"""Tests of `actors.engines.verifiers`."""
