"""Nomad's HTTP API over the region's state."""
