"""The state of a region and the rules by which it changes: nodes, node pools, tokens."""
