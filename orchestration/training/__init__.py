"""How the bundled models are made, and a user's own: policy, then verifier."""
