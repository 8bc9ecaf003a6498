"""Makes the embedded world from tables of countries and elements; ``python -m tools.world`` writes its files."""
