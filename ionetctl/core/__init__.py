"""Records, events, errors, ports and settings that all folders share."""
