"""MLflow runs and registered models; nothing else in gzflow imports mlflow."""
