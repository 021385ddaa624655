"""Flax Linen modules: parameters and shapes only."""
