"""The rehearsal fleet: SSH hosts and a region on loopback, no root needed."""
