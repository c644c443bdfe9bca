"""What the rehearsal's region knows: nodes, pools, tokens."""
