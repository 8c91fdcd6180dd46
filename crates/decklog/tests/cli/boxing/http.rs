//! `decklog mcp --listen`.
