"""One host, from its survey to its confirmed node."""
