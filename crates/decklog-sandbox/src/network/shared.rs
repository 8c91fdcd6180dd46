//! What all connections of a container have in common: the policy, what was resolved, whom to tell, how many there are.
//!
//! Must not know: how bytes are copied or names are resolved.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::grants::Grants;
use super::netlink::{self, Way};
use super::policy::{Decision, Policy};
use super::record::Record;
use super::refusals::Refusals;
use super::{About, Totals, Watch};

/// Bytes of records, after which nothing more is let through: what is refused from then on still has room.
const RECORDS: u64 = 256 * 1024 * 1024;

/// Kinds of trouble that are remembered as said.
const TROUBLES: usize = 64;

/// What the connections of one container share.
pub(super) struct Shared {
    pub(super) policy: Policy,
    /// The servers that are asked for names.
    pub(super) resolvers: Vec<SocketAddr>,
    about: About,
    watch: Arc<dyn Watch>,
    grants: Mutex<Grants>,
    ways: Mutex<netlink::Socket>,
    said: Mutex<HashSet<String>>,
    refusals: Mutex<Refusals>,
    summed_up: Notify,
    bytes: AtomicU64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    allowed: AtomicU64,
    denied: AtomicU64,
    questions: AtomicU64,
    questions_denied: AtomicU64,
    packets_dropped: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

/// What a record is about, which is what it adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connection,
    Question,
    Dropped,
}

impl Shared {
    pub(super) fn new(
        policy: Policy,
        resolvers: Vec<SocketAddr>,
        about: About,
        watch: Arc<dyn Watch>,
        ways: netlink::Socket,
    ) -> Self {
        Self {
            policy,
            resolvers,
            about,
            watch,
            grants: Mutex::default(),
            ways: Mutex::new(ways),
            said: Mutex::default(),
            refusals: Mutex::default(),
            summed_up: Notify::new(),
            bytes: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    /// The tool calls in progress.
    pub(super) fn calls(&self) -> Vec<String> {
        self.watch.calls_in_progress()
    }

    /// Writes a record, and counts it.
    pub(super) fn record(&self, kind: Kind, record: Record) {
        let add = |count: &AtomicU64, number| count.fetch_add(number, Ordering::Relaxed);
        let denied = record.action != "allow";
        match kind {
            Kind::Connection => {
                add(&self.counts.connections, 1);
                add(if denied { &self.counts.denied } else { &self.counts.allowed }, 1);
                add(&self.counts.bytes_out, record.orig_bytes);
                add(&self.counts.bytes_in, record.resp_bytes);
            }
            Kind::Question => {
                add(&self.counts.questions, 1);
                add(&self.counts.questions_denied, denied.into());
            }
            Kind::Dropped => {
                add(&self.counts.packets_dropped, record.orig_pkts.unwrap_or(1));
            }
        }
        if !denied {
            self.write(record);
            return;
        }
        let mut refusals = lock(&self.refusals);
        match refusals.take(record) {
            Some(record) => {
                drop(refusals);
                self.write(record);
            }
            None => self.summed_up.notify_one(),
        }
    }

    /// Writes that something begins that is let through. `Err`: the rule by which it is not, as there would be no record.
    pub(super) fn open(&self, record: &Record) -> Result<(), &'static str> {
        if self.bytes.load(Ordering::Relaxed) >= RECORDS {
            let mebibytes = RECORDS >> 20;
            self.trouble(&format!("the network's record has {mebibytes} MiB, so nothing more is let through"));
            return Err("limit");
        }
        let is_kept = self.write(Record { conn_state: "OPEN", ..record.clone() });
        if is_kept { Ok(()) } else { Err("unrecorded") }
    }

    /// Whether the record is kept.
    fn write(&self, record: Record) -> bool {
        let About { session, container } = self.about.clone();
        let line = Record { session, container, ..record }.line();
        self.bytes.fetch_add(line.len() as u64 + 1, Ordering::Relaxed);
        self.watch.record(&line)
    }

    /// Waits until there are refusals that are summed up.
    pub(super) async fn wait_for_sums(&self) {
        self.summed_up.notified().await;
    }

    /// Writes the refusals that are summed up.
    pub(super) fn record_sums(&self) {
        let sums = lock(&self.refusals).drain();
        for record in sums {
            self.write(record);
        }
    }

    /// Says what is wrong, once.
    pub(super) fn trouble(&self, what: &str) {
        let mut said = lock(&self.said);
        if said.len() < TROUBLES && said.insert(what.to_owned()) {
            drop(said);
            self.watch.trouble(what);
        }
    }

    /// What is done with a connection to `to`, and the names it was resolved for.
    pub(super) fn decide(&self, to: SocketAddr) -> (Decision, Vec<String>) {
        let names = lock(&self.grants).names(to.ip(), Instant::now());
        (self.policy.decide(to, &names, |address| self.way(address) == Way::Own), names)
    }

    /// `name` was resolved to `address`.
    pub(super) fn grant(&self, address: IpAddr, name: &str, ttl: u32) {
        lock(&self.grants).grant(address, name, ttl, Instant::now());
    }

    /// Whether a client is told of `address`: that nobody may go to, or that the host knows no way to, would only cost it
    /// a try, as every connection is accepted here before it is made.
    pub(super) fn is_of_use(&self, address: IpAddr) -> bool {
        let way = self.way(address);
        way != Way::None && self.policy.may_be_told(address, |address| self.way(address) == Way::Own)
    }

    /// Which way the host sends packets to `address`. If the kernel does not say, the address counts as the host's own.
    fn way(&self, address: IpAddr) -> Way {
        lock(&self.ways).way_to(address).unwrap_or_else(|error| {
            self.trouble(&format!(
                "the kernel does not tell which addresses are the host's ({error}); none is reached"
            ));
            Way::Own
        })
    }

    /// What it came to.
    pub(super) fn totals(&self) -> Totals {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        Totals {
            connections: of(&counts.connections),
            allowed: of(&counts.allowed),
            denied: of(&counts.denied),
            questions: of(&counts.questions),
            questions_denied: of(&counts.questions_denied),
            packets_dropped: of(&counts.packets_dropped),
            bytes_out: of(&counts.bytes_out),
            bytes_in: of(&counts.bytes_in),
        }
    }
}

/// What a thread that panicked left behind is whole: each of these is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
