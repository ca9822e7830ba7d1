"""LLaVA: a vision tower whose patches a language model reads as words (arXiv 2304.08485)."""
