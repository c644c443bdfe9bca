"""Converts inventories of other tools."""
