"""Training and evaluation: the module, the program around it, what it writes."""
