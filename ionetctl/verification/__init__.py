"""Whether a node is really there, as it should be, and if not, why."""
