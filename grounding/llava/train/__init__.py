"""Training of LLaVAs: the two stages of the papers, and the embedded model's vision tower."""
