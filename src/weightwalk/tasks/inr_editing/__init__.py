"""Edit INRs: from the weights of a network that holds a picture to a network, or a picture, after an operation."""
