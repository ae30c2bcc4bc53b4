"""Tests of `actors.engines.local`."""
