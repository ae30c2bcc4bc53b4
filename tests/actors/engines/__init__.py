"""Tests of `actors.engines`."""
