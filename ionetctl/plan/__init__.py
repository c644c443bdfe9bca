"""What a host should have, and the difference to what it has."""
