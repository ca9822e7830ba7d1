"""How well a SEEM segments: metrics, simulated marks, data sources, and what is asked of each."""
