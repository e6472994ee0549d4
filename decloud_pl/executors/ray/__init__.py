"""Run trainings on a Ray cluster."""
