"""Pieces of a screen; each draws itself from what it is given."""
