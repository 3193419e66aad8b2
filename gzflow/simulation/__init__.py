"""A sky with known truth: galaxies, volunteers and services on loopback."""
