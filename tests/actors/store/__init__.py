"""Tests of `actors.store`."""
