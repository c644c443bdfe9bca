"""A rollout while it runs: redrawn on a terminal, or line by line."""
