"""Who is alive, and how are they? A membership protocol (SWIM with Lifeguard) over sealed datagrams.

Every member probes one other a second; who does not answer is suspected aloud, may refute, and is declared
dead when it stays silent. News and small statistics ride on the probes; a full exchange over a stream mends
what datagrams lost. `swim` decides (pure), `service` acts (sockets and timers). It knows nothing of the
program it lives in: that one hands in a `Seal` for datagrams and an `Exchange` for streams. This file exports
nothing: import from `gossip.service`, `gossip.member`, `gossip.events`, `gossip.settings`.
"""
