"""Runs: what one start finds to do, what is kept in the folder, and how it is read."""
