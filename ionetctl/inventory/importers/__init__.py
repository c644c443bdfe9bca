"""Inventories of other tools, turned into ours."""
