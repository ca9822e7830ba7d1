"""Comparing pictures, words and sounds."""
