"""The site's inventory: from YAML text to frozen hosts, with places for every error.

``load.load_inventory`` is the way in, ``select.select_hosts`` narrows it down, ``describe`` shows it. Nothing is imported
here, so that ``ionetctl --help`` does not wait for pydantic.
"""
