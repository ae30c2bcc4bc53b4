"""Who works on what: queue, leases, journal and watch, driven by the scheduler. No Ray, no strategy."""
