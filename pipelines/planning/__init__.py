"""Laying captions out."""
