"""Tests of the science, room by room."""
