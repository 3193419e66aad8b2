"""Galaxy Zoo tables of any kind, their votes, and the store that holds them."""
