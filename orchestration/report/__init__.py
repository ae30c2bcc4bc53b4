"""Tables and figures of a run, written into its folder."""
