"""Instruction data from a text-only language model, as LLaVA's was made (arXiv 2304.08485)."""
