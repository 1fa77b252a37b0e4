"""The controller: observes everything in every replica, writes only as the leader."""
