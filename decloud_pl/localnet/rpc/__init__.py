"""Solana's JSON-RPC and WebSocket API (https://solana.com/docs/rpc) for the local chain."""
