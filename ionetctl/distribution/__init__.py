"""How packed programs reach the hosts of a site: who gets them from the controller, a mirror, or a neighbour."""
