"""The stand-in for a Nomad client agent. Imports the standard library only: the tests run it on hosts that have no more."""
