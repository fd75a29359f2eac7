"""Compiled kernels. Nothing here validates; the packages above do."""
