//! What goes wrong around a record: killed recorders, disks that refuse, hostile records, secrets.

mod disk;
mod hostile;
mod kills;
mod places;
mod power;
mod races;
mod screen;
mod secrets;

pub(crate) use screen::{append, harmless, hostile_session, on_a_terminal};
