"""Tests of `actors.replicas`."""
