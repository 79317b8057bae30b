"""Golden questions about the handbook (CC0): each names the page and heading that answer it."""
