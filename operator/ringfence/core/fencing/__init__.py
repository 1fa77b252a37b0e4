"""What proves that a node can no longer write, and the ladder that leads there."""
