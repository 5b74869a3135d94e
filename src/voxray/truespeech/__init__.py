"""Synthetic speech in five languages with exact truth: what is said, when, how, by whom and over which sounds."""
