"""The smallest app of each kind, built and asked by the tests of the builders."""
