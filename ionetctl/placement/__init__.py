"""Which region a host joins, and whether the region can take it."""
