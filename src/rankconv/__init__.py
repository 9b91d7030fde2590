"""Cheaper 2-D convolutions by rank-n approximation of their filters."""
