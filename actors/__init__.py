"""The runtime: what lives in a process of its own and moves tokens. It knows nothing of beams, bins, graders or data sets."""
