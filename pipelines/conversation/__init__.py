"""Talking: who answers, here or elsewhere, in text or from speech."""
