"""Drawing, looking, repairing."""
