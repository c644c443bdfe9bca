"""The rehearsal's region: one process that stands in for the Nomad servers."""
