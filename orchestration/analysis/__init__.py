"""From a run's tables to numbers with intervals. Knows no files, figures or models."""
