"""What every stage program shares: folder formats, atomic outputs, errors, progress, training.

This package knows neither Prefect nor DVC nor any other room of the house.
"""
