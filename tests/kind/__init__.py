"""ringfence on a kind cluster, for people who have docker. Not run by this project's tests, but for its parts that need none."""
