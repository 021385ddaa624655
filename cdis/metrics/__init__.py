"""Scores: plain functions over arrays."""
