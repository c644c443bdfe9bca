"""Parses YAML text to plain values with their places in the text; problems with places."""
