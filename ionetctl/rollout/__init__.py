"""Many hosts: phases, waves, the failure budget, regions, signals, the recorder."""
