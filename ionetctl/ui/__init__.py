"""Output for people: progress of a rollout, summaries, tables. Takes events and records; does no other I/O."""
