"""A rehearsal host: its description, file tree, programs, SSH server and service supervisor."""
