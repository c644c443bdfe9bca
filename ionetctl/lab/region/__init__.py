"""The rehearsal's region: what a Nomad server answers."""
