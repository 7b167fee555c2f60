"""The model floor: load and quantise a base, the vision contract, adapters."""
