"""Teachers and the resumable runner: clips in, raw answers out."""
