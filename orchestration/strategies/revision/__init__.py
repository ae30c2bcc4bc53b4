"""Strategies whose attempts read earlier ones, a file each."""
