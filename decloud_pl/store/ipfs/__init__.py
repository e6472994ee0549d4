"""IPFS formats: content identifiers, blocks, archives."""
