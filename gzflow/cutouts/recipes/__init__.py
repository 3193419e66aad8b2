"""FITS -> RGB recipes: pure functions from calibrated bands to a picture, one file for each family of stretches."""
