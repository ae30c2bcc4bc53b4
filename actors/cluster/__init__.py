"""Processes onto machines: the only place of the runtime that knows Ray."""
