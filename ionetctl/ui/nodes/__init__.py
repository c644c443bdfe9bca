"""What people see of nodes, looked at through their regions."""
