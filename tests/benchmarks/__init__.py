"""Speed as ratios of two things measured in one run; no part of the test suite."""
