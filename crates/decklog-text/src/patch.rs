//! A patch, read and made ready to be laid out: what terminal and page have in common.
//!
//! Must not know: where it comes from, colours, escape codes, HTML.

mod annotate;
mod parse;

pub use annotate::{Piece, Row, annotate};
pub use parse::{FilePatch, Hunk, Kind, Line, parse};
