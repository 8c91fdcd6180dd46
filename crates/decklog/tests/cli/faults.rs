//! What goes wrong around a record: killed recorders, disks that refuse, hostile records, secrets.

mod disk;
mod hostile;
mod inherited;
mod kills;
mod places;
mod power;
mod races;
mod replacing;
mod results;
mod screen;
mod secrets;
mod tampering;
mod trees;

pub(crate) use screen::{append, harmless, hostile_session, on_a_terminal};
