"""YAML text to plain values that remember where they stood, and problems with their places."""
