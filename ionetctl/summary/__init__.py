"""Events and node lists, added up for people and files. Pure."""
