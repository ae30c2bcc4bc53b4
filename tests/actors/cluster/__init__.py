"""Tests of `actors.cluster`."""
