"""What lies beneath the program: files, locks, memory, where numbers come from."""
