//! The real agents against the scripted model server.
