"""Forms in which weights lie on disk: where they are, and their readers."""
