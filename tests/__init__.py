"""Tests mirror the rooms of the code; what they share is in `tests.support`."""
