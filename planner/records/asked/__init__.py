"""Defines what is asked: requests, search spaces, and how options and amounts are read as callers write them."""
