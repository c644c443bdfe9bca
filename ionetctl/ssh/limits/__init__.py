"""How much happens at the same time: handshakes, payload streams, bytes a second, open files."""
