"""OpenSSH configuration files, and the endpoint that follows from them and the inventory for each host."""
