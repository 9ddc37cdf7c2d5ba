"""Classify INRs: from the weights of a network that holds a picture to what the picture shows."""
