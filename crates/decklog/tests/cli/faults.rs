//! What goes wrong around a record: killed recorders, disks that refuse, hostile records, secrets.

mod disk;
mod kills;
mod places;
mod secrets;
