"""Instruction data for LLaVA from captions and boxes: ``lavallama instruct``."""
