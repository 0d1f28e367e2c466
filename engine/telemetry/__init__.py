"""How a process is looked at from outside: metrics and health on a port of their own. It knows no subject."""
