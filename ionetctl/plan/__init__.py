"""What a host should have, the changes that bring it there, and what is sent for them."""
