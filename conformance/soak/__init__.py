"""Soaking: a load on a server for a long time, while the suite is repeated against it and what it holds is watched."""
