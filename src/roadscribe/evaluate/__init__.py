"""Scores, controls and the scorecard: what a model knows, what it only guesses, and how sure that is."""
