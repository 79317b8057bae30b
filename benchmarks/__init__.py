"""Measurements beside other systems and published figures; one command each."""
