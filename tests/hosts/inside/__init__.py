"""Programs that tests run inside the machine image, on its own Python: they print JSON."""
