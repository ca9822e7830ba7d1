"""GLIGEN: gated self-attention adapters for frozen diffusion models (arXiv 2301.07093)."""
