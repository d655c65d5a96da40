"""Examples to read and to change: each is one file, and none downloads anything."""
