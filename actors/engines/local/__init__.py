"""Engines of torch code that run everywhere: continuous batching over slots, prefixes found again token by token."""
