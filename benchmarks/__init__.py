"""Measurements against peers: each prints one JSON line at the end."""
