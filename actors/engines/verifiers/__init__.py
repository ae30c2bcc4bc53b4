"""What makes a verifier of a model or of a user's object, whichever engine computes it."""
