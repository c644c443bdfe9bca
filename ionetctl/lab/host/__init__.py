"""A rehearsal host: SSH server, file tree, programs, supervisor."""
