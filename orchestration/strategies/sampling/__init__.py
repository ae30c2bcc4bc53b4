"""Strategies that choose among whole samples, and the one that rolls out from them; a file each."""
