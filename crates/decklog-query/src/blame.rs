//! stub
mod trace;
