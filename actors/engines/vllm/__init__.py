"""Engines over vLLM, with what its worker processes import. Nothing here is loaded where vLLM is not chosen."""
