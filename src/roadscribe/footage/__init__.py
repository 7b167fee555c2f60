"""Footage becomes clips: which files (`sources`), which of their frames (`sampling`), how kept (`collect`)."""
