"""What people see while a rollout runs and when it is over. Takes events; knows terminals and nothing of hosts."""
