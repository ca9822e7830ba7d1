"""Checkpoints in and out, and the models that ship with the project."""
