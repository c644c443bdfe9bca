"""Secrets, certificates and their issuers."""
