"""From clips to shards, in units that can be interrupted."""
