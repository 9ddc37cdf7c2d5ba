"""Parameters of the release of Neural Graphs (ICLR 2024), brought into our modules."""
