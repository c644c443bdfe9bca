"""Faults and conditions that rehearsal hosts can be given."""
