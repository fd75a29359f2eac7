"""Homomorphic aggregation: sums and products of hidden values, exact or refused."""
