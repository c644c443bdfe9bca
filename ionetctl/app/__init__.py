"""A module per use case: opens the adapters it needs and hands them to the core."""
