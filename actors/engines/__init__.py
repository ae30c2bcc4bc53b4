"""Engines: one model on its devices, token ids in and out. Read base, then loading; a folder each way to run a model."""
