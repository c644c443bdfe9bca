"""The rehearsal: a fleet of SSH hosts and a Nomad region on the loopback interface, without root."""
