"""Training SEEM: scenes, simulated prompts, matching, losses, the loop's task."""
