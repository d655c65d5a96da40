"""Tables of own data: files of every kind, folders, and data sets on the hub."""
