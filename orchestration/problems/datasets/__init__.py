"""Where problems come from: a user's own tables, reasoning-gym's data sets by name, the shipped mixture."""
