"""Padding channels to whole blocks."""
