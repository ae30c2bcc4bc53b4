"""From a solution's text to its final answer in canonical form, and whether it is right; a file each grader."""
