"""Hub: what of an artifact goes to the Hugging Face Hub, in which form, and how it gets there."""
