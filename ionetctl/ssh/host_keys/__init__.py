"""Whether a host is who it should be."""
