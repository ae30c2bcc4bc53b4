"""Strategies that grow a tree of steps against the verifier, a file each, and what they share."""
