"""Footage becomes clips: which files (`sources`), which of their frames (`sampling`), kept how (`collect`)"""
