"""C sources that go with every artifact."""
