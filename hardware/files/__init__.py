"""Reads files of users as data, within limits, and the data that ships with the packages."""
