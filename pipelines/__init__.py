"""Whole tasks: commands and their Python API."""
