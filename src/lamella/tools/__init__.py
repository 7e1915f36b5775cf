"""What stands beside the library: the command line, the demo, helpers for data."""
