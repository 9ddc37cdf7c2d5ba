"""Parameters that other people's releases trained, brought into our modules."""
