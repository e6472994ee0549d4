"""Solana's JSON-RPC and WebSocket interface (https://solana.com/docs/rpc) in front of the local chain."""
