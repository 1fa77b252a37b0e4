"""The ring in virtual time: the agents' own machine on simulated nodes, links, clocks and kernels.

One heap of happenings, one seed, no real clock: an hour is played in minutes, and the same seed gives the same trace in
any process. What is simulated is only what surrounds `ringfence.core.gossip.swim.Swim`; of the ring's own decisions
nothing is written down here a second time, except as invariants that judge them.

`world` plays, `script` says what goes wrong and when, `faults` does it, `invariants` watches, `story` plays one script
and shortens a failing one, `figures` measures. ``python -m simulator`` lists the commands.
"""
