"""From evidence to a verdict about a node."""
