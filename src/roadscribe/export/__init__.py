"""Export: an adapter merged into its 16-bit base, held against what was trained, with its card."""
