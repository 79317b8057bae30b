"""The search page: the only part of Angler that knows a screen."""
