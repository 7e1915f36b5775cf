"""Shapes that explain themselves: traced, turned, followed, counted, and told in plain words."""
