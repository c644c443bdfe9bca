"""From what a host prints to what is known of it. Pure."""
