"""Says what users meant where a command line is wrong; imported only then."""
