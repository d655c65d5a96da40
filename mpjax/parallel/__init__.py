"""Devices and processes: meshes, shardings, and processes that train together."""
