"""Decides how a fine-tuning run computes and predicts its memory and time, from numbers alone: no weight is loaded."""
