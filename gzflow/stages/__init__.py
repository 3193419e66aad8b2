"""The composers: each stage plans chunks, runs one chunk, and finishes."""
