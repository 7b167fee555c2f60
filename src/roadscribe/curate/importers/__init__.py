"""Instruction data that others published, as raw answers and the manifest of their footage."""
