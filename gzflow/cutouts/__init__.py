"""Images of galaxies: services, archives, checks, and FITS to RGB."""
