"""Default settings as YAML, composed by Hydra; the comments are the commands' help."""
