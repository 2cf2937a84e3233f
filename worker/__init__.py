"""The process that does the work: drains the inbox, refreshes and reconciles, delivers, sweeps."""
