"""The rehearsal's Nomad agent."""
