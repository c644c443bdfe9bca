"""Nodes that a region knows, changed through its API alone: what is to be changed, and how a rollout goes through them."""
