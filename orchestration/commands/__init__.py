"""The sub-commands of `flopwise`, one a file, and what they share. Thin: each asks the rooms below."""
