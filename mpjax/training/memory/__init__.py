"""Memory of a train step by arithmetic, before anything is compiled."""
