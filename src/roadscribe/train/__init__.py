"""The training floor: a checked dataset, its batches, TRL's trainer around a QLoRA base, the adapter."""
