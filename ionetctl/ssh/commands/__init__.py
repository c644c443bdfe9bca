"""How a command runs on a host: its channel, its user, and what it prints."""
