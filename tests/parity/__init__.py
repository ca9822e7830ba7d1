"""Comparisons with numbers and code that are not ours."""
