//! What a container may reach, and a record of what it reached.
