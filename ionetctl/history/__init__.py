"""The records of rollouts: journals, and the catalog made from them."""
