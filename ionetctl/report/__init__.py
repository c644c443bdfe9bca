"""What a finished rollout looks like in files for other tools."""
