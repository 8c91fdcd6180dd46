//! The server's name in a TLS ClientHello (RFC 8446, RFC 6066).
//!
//! Pure. Must not know: anything but these bytes.

use super::{Claim, Service, Sniffed};
use crate::network::rule::host_name;

/// What went wrong: the bytes end, or they are no ClientHello.
enum Stop {
    Ends,
    Wrong,
}

/// A place in bytes; nothing is read beyond their end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Stop::Ends)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, Stop> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What a number of so many bytes gives the length of.
    fn vector(&mut self, bytes: usize) -> Result<Reader<'a>, Stop> {
        let length = self.number(bytes)?;
        Ok(Reader(self.take(length)?))
    }
}

/// What bytes are that begin as a TLS server accepts it; `None` when no server does. Only a record of TLS with a ClientHello
/// in it is clear: some servers forgive other versions, alerts before it and the hello of SSL 2.
pub(super) fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    const HANDSHAKE: u8 = 22;
    let unclear = Some(Sniffed::Done(Service::Ssl, Claim::Unclear(Vec::new())));
    match (bytes.first()?, bytes.get(1)) {
        (&HANDSHAKE, None | Some(3)) => Some(hello(bytes)),
        (20..=24, None) => Some(Sniffed::NeedMore(Service::Unknown)),
        (20..=24, Some(3)) => unclear,
        (20..=24, _) => match is_record(bytes) {
            None => Some(Sniffed::NeedMore(Service::Unknown)),
            Some(is_record) => unclear.filter(|_| is_record),
        },
        (0x80.., _) => match bytes.get(2..4) {
            None => bytes.get(2).is_none_or(|kind| *kind == 1).then_some(Sniffed::NeedMore(Service::Unknown)),
            Some(rest) => unclear.filter(|_| rest[0] == 1 && rest[1] <= 3),
        },
        _ => None,
    }
}

/// Whether a record with a version that is not TLS's could be what a handshake begins with: a hello, or what is as short as
/// alerts are. `None`: more bytes tell.
fn is_record(bytes: &[u8]) -> Option<bool> {
    const SHORT: usize = 2;
    let length = usize::from(*bytes.get(3)?) << 8 | usize::from(*bytes.get(4)?);
    if length <= SHORT || length > 1 << 14 {
        return Some(length <= SHORT);
    }
    Some(*bytes.get(5)? == 1)
}

/// What bytes that begin with a handshake record are.
fn hello(bytes: &[u8]) -> Sniffed {
    let unclear = Sniffed::Done(Service::Ssl, Claim::Unclear(Vec::new()));
    let mut handshake = Vec::new();
    if records(bytes, &mut handshake).is_err() {
        return unclear;
    }
    let mut reader = Reader(&handshake);
    let hello = match (reader.number(1), reader.vector(3)) {
        (Ok(1), Ok(hello)) => hello,
        (Ok(1), Err(_)) | (Err(_), _) => return Sniffed::NeedMore(Service::Ssl),
        (Ok(_), _) => return unclear,
    };
    let mut names = Vec::new();
    match server_names(hello, &mut names) {
        Ok(encrypted) => Sniffed::Done(
            Service::Ssl,
            match names.pop() {
                Some(name) if encrypted => Claim::Encrypted(name),
                Some(name) => Claim::One(name),
                None if encrypted => Claim::Unclear(Vec::new()),
                None => Claim::Missing,
            },
        ),
        Err(_) => Sniffed::Done(Service::Ssl, Claim::Unclear(names)),
    }
}

/// Puts together what the handshake records hold, as a message may lie in several.
fn records(bytes: &[u8], handshake: &mut Vec<u8>) -> Result<(), Stop> {
    let mut reader = Reader(bytes);
    loop {
        let Ok(header) = reader.take(3) else { return Ok(()) };
        // Where the hello is interrupted, or another version follows, some stop reading and some do not.
        if header[..2] != [0x16, 3] {
            return Err(Stop::Wrong);
        }
        let Ok(length) = reader.number(2) else { return Ok(()) };
        if length == 0 || length > 1 << 14 {
            return Err(Stop::Wrong);
        }
        let there = length.min(reader.0.len());
        handshake.extend_from_slice(reader.take(there)?);
        if there < length || hello_is_whole(handshake) {
            return Ok(());
        }
    }
}

fn hello_is_whole(handshake: &[u8]) -> bool {
    let mut reader = Reader(handshake);
    reader.number(1).and_then(|_| reader.vector(3)).is_ok()
}

/// Finds the names of the server, and whether there is another hello in this one, which is encrypted.
fn server_names(mut hello: Reader<'_>, names: &mut Vec<String>) -> Result<bool, Stop> {
    const SERVER_NAME: usize = 0;
    const ENCRYPTED_HELLO: usize = 0xfe0d;
    if hello.number(1)? != 3 {
        return Err(Stop::Wrong);
    }
    hello.take(1 + 32)?;
    hello.vector(1)?;
    hello.vector(2)?;
    hello.vector(1)?;
    if hello.0.is_empty() {
        return Ok(false);
    }
    let mut extensions = hello.vector(2)?;
    let (mut named, mut encrypted) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut body = extensions.vector(2)?;
        encrypted |= kind == ENCRYPTED_HELLO;
        if kind != SERVER_NAME {
            continue;
        }
        let mut list = body.vector(2)?;
        let kind = list.number(1)?;
        let text = String::from_utf8_lossy(list.vector(2)?.0).to_lowercase();
        let is_name = kind == 0 && host_name(&text).is_some() && !text.ends_with('.');
        if !names.contains(&text) {
            names.push(text);
        }
        // One name is all that is allowed; a second one would be read by some and not by others.
        if !is_name || !list.0.is_empty() || !body.0.is_empty() || std::mem::replace(&mut named, true) {
            return Err(Stop::Wrong);
        }
    }
    if hello.0.is_empty() { Ok(encrypted) } else { Err(Stop::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::super::{Claim, Service, Sniffed};

    fn sniff(bytes: &[u8]) -> Sniffed {
        super::super::sniff(bytes, false)
    }

    fn vector(bytes: usize, body: &[u8]) -> Vec<u8> {
        let mut out = body.len().to_be_bytes()[8 - bytes..].to_vec();
        out.extend_from_slice(body);
        out
    }

    fn extension(kind: u8, body: &[u8]) -> Vec<u8> {
        [vec![0, kind], vector(2, body)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        extension(0, &vector(2, &[vec![0], vector(2, name)].concat()))
    }

    fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.extend(vector(1, &[9; 32]));
        hello.extend(vector(2, &[0x13, 1, 0x13, 2]));
        hello.extend(vector(1, &[0]));
        hello.extend(vector(2, &extensions.concat()));
        [vec![1], vector(3, &hello)].concat()
    }

    fn record(body: &[u8]) -> Vec<u8> {
        [vec![0x16, 3, 1], vector(2, body)].concat()
    }

    fn ssl(claim: Claim) -> Sniffed {
        Sniffed::Done(Service::Ssl, claim)
    }

    fn one(host: &str) -> Sniffed {
        ssl(Claim::One(host.into()))
    }

    fn unclear(hosts: &[&str]) -> Sniffed {
        ssl(Claim::Unclear(hosts.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn the_name_of_the_server() {
        let other = extension(43, &[2, 3, 4]);
        let both = message(&[other.clone(), sni(b"Example.com"), other.clone()]);
        assert_eq!(sniff(&record(&both)), one("example.com"));
        assert_eq!(sniff(&record(&message(std::slice::from_ref(&other)))), ssl(Claim::Missing));
        assert_eq!(sniff(&record(&message(&[]))), ssl(Claim::Missing));
        let (first, second) = both.split_at(50);
        assert_eq!(sniff(&[record(first), record(second)].concat()), one("example.com"), "in two records");
        let bytes: Vec<u8> = both.iter().flat_map(|byte| record(&[*byte])).collect();
        assert_eq!(sniff(&bytes), one("example.com"), "in as many records as bytes");
        assert_eq!(sniff(&[record(&both), vec![0x17, 3, 3, 0, 1, 0]].concat()), one("example.com"), "more behind it");
        let encrypted = [vec![0xfe, 0x0d], vector(2, &[0; 40])].concat();
        let hello = message(&[sni(b"outer.test"), encrypted.clone()]);
        assert_eq!(sniff(&record(&hello)), ssl(Claim::Encrypted("outer.test".into())), "another name is hidden");
        assert_eq!(sniff(&record(&message(&[encrypted]))), unclear(&[]));
    }

    #[test]
    fn what_two_readers_may_read_differently_is_unclear() {
        let hello = message(&[sni(b"a.test")]);
        for (what, bytes, hosts) in [
            ("two names", record(&message(&[sni(b"a.test"), sni(b"b.test")])), &["a.test", "b.test"][..]),
            ("the same twice", record(&message(&[sni(b"a.test"), sni(b"a.test")])), &["a.test"]),
            (
                "two names in a list",
                record(&message(&[extension(
                    0,
                    &vector(2, &[&[0][..], &vector(2, b"a.test"), &[0], &vector(2, b"b.test")].concat()),
                )])),
                &["a.test"],
            ),
            ("an empty list, and a name", record(&message(&[extension(0, &vector(2, &[])), sni(b"a.test")])), &[]),
            ("an empty name", record(&message(&[sni(b"")])), &[""]),
            ("another kind of name", record(&message(&[extension(0, &vector(2, b"\x01\0\x01a"))])), &["a"]),
            ("a dot at the end", record(&message(&[sni(b"a.test.")])), &["a.test."]),
            ("a zero in it", record(&message(&[sni(b"a.test\0b.test")])), &["a.test\0b.test"]),
            ("no text", record(&message(&[sni(b"\xffa")])), &["\u{fffd}a"]),
            ("an address of IPv6", record(&message(&[sni(b"::1")])), &["::1"]),
            (
                "more behind the list",
                record(&message(&[extension(0, &[vector(2, b"\0\0\x01a"), vec![0]].concat())])),
                &["a"],
            ),
            ("no hello", record(&[2, 0, 0, 0]), &[]),
            ("an empty record", vec![0x16, 3, 1, 0, 0], &[]),
            ("a record that is too long", vec![0x16, 3, 1, 0xff, 0xff], &[]),
            ("an alert before it", [vec![0x15, 3, 3, 0, 2, 1, 0], record(&hello)].concat(), &[]),
            ("an alert of another version", [vec![0x15, 9, 9, 0, 2, 1, 0], record(&hello)].concat(), &[]),
            ("a change of ciphers before it", [vec![0x14, 3, 3, 0, 1, 1], record(&hello)].concat(), &[]),
            ("data before it", [vec![0x17, 3, 3, 0, 1, 1], record(&hello)].concat(), &[]),
            ("a heartbeat before it", [vec![0x18, 3, 3, 0, 1, 1], record(&hello)].concat(), &[]),
            ("another version", [vec![0x16, 2, 0], vector(2, &hello)].concat(), &[]),
            ("no version at all", [vec![0x16, 0x7f, 0xff], vector(2, &hello)].concat(), &[]),
            ("an empty record of another version", [vec![0x16, 9, 9, 0, 0], record(&hello)].concat(), &[]),
            ("SSL 2", vec![0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10], &[]),
            ("SSL 2 itself", vec![0x80, 0x2e, 1, 0, 2], &[]),
        ] {
            assert_eq!(sniff(&bytes), unclear(hosts), "{what}");
        }
        let mut broken = hello.clone();
        let at = broken.len() - 7;
        broken[at] = 200;
        assert_eq!(sniff(&record(&broken)), unclear(&[]), "a length beyond the end");
        let mut longer = hello.clone();
        longer.push(0);
        longer[3] += 1;
        assert_eq!(sniff(&record(&longer)), unclear(&["a.test"]), "more behind the extensions");
        let mut other = hello.clone();
        other[4] = 2;
        assert_eq!(sniff(&record(&other)), unclear(&[]), "another version in the hello");
        let (first, second) = hello.split_at(20);
        for between in [vec![0x15, 3, 3, 0, 2, 1, 0], vec![0x14, 3, 3, 0, 1, 1], vec![0x16, 3, 3, 0, 0]] {
            assert_eq!(sniff(&[record(first), between, record(second)].concat()), unclear(&[]), "interrupted");
        }
        let second = [vec![0x16, 2, 0], vector(2, second)].concat();
        assert_eq!(sniff(&[record(first), second].concat()), unclear(&[]), "another version in the middle");
    }

    #[test]
    fn what_no_server_takes_for_tls() {
        for bytes in [
            // Lengths of messages of other protocols.
            &[0x16, 1, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x15, 1, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0],
            &[0x85, 0, 0, 1, 0x8d, 0xa6],
            &[0x80, 1, 1, 9, 0],
        ] {
            assert_eq!(sniff(bytes), Sniffed::Other(Service::Unknown), "{bytes:?}");
        }
    }

    #[test]
    fn cut_anywhere_it_waits_and_changed_anywhere_it_answers() {
        let whole = record(&message(&[extension(43, &[2, 3, 4]), sni(b"example.com")]));
        for end in 0..whole.len() {
            assert!(matches!(sniff(&whole[..end]), Sniffed::NeedMore(_)), "{end}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 2, 3, 0x16, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                for end in 0..=bytes.len() {
                    let _ = sniff(&bytes[..end]);
                }
            }
        }
    }
}
