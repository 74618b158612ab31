"""Makers of tiny fakes in the official layouts: same folders, names, types and oddities as the owners' files."""
