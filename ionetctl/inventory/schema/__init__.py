"""The format of an inventory: its structure, the checks of its fields, and the JSON Schema."""
