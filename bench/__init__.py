"""Benchmarks, one file per question, each with its peers beside it in the same process."""
