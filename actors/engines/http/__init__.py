"""A policy behind an address: an OpenAI-compatible server that takes and gives token ids. Read protocol, then policy."""
