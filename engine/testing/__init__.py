"""The adversarial log, the simulator that runs whole clusters on it in virtual time, and what checks them."""
