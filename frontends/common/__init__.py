"""What the frontends share: building a graph, tables of handlers, errors, and the layout of channels."""
