"""The part of Nomad's HTTP API that ionetctl uses, over the state of a region."""
