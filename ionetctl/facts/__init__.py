"""Parses what surveys, probes and applies print on hosts. Pure."""
