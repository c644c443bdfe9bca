"""``~/.ssh/config``: which files, and what they say of a host."""
