"""Who may still log in to a host once it is enrolled."""
