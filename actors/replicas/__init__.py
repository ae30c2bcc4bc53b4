"""What runs inside a replica's process: tasks, their purses, their clients of policy and verifier. No Ray."""
