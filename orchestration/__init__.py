"""The science: what work to run and why, and what came of it. It imports the runtime, never the other way round."""
