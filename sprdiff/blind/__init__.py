"""Blind tests: which of two unlabelled reconstructions is nearer to the original."""
