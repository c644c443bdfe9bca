"""Host key checking: known_hosts files, and the decision on a host's key."""
