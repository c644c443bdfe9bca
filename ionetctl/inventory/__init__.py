"""The site's inventory: from YAML text to frozen hosts, with places for every error."""
