"""Roadscribe: from dashcam footage to a driving report you can check."""
