"""Tests of `orchestration.problems`."""
