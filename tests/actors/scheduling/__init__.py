"""Tests of `actors.scheduling`."""
