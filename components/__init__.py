"""The Pulumi components of an edge inference stack, and the pure decisions that they are made of."""
