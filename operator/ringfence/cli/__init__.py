"""``ringfence`` and ``kubectl ringfence``: what the cluster's objects say, for a person.

The command line reads the same objects that everybody can read by kubectl; it knows nothing that they don't say, so
it is as useful in an incident as the API server is. It writes one thing: a confirmation (``fence confirm``).
"""
