"""Holds what frameworks share that train by transformers' Trainer."""
