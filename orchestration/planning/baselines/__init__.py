"""Allocators of the field, each on the same bench, their probes charged: what the global price is held against."""
