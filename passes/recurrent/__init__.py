"""Recurrent layers that a model spells out as a loop over their cell."""
