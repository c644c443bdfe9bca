"""Frozen records shared by all parts, from the inventory to the outcome. No I/O and no parsing."""
