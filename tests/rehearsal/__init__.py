"""Rehearsals of public checkpoints: their layouts and sizes, with random weights."""
