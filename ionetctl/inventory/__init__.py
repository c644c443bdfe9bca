"""The site's inventory: from YAML text to frozen hosts; every error has its place in the text.

``load.load_inventory`` loads it, ``select.select_hosts`` selects hosts, ``describe`` prepares it for output. Nothing is
imported here, so that ``ionetctl --help`` does not import pydantic.
"""
