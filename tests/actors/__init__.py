"""Tests of the runtime, room by room."""
