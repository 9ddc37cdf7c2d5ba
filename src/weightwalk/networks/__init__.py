"""The networks that are read: their architectures, how they start, and how they come out of files and modules."""
