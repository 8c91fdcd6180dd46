//! The record from outside: written, damaged, cut off, read again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alterations;
mod bulk;
mod cut;
mod frozen;
mod heads;
mod intact;
mod laws;
mod lengths;
mod locks;
mod oddities;
mod portable;
mod removal;
mod states;
mod story;
mod versions;
mod world;
