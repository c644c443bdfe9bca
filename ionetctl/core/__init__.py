"""What everything speaks in: records, events, errors, ports, settings."""
