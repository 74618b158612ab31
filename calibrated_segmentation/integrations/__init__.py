"""Our losses, metrics and calibrators inside other frameworks; each module imports its framework only when used."""
