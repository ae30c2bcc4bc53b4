"""Runs a model's program and its tests in two processes of their own that may do nothing but compute. Read confine and
calls, then values, then program and harness.

Its modules are started alone, by a bare interpreter, and so import each other by relative names and nothing else of flopwise.
"""
