//! The server's name in a TLS ClientHello (RFC 8446, RFC 6066).
//!
//! Pure. Must not know: anything but these bytes.

use super::{Service, Sniffed};

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

/// What bytes that begin with a handshake record are.
pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    let mut handshake = Vec::new();
    match records(bytes, &mut handshake) {
        Ok(()) => {}
        // Not even the version is TLS's: something else that begins with this byte.
        Err(_) if handshake.is_empty() && bytes.get(1).is_some_and(|major| *major != 3) => {
            return Sniffed::Done(Service::Unknown, Vec::new());
        }
        Err(_) => return Sniffed::Malformed(Service::Ssl),
    };
    let mut reader = Reader(&handshake);
    let hello = match (reader.number(1), reader.vector(3)) {
        (Ok(1), Ok(hello)) => hello,
        (Ok(1), Err(_)) | (Err(_), _) => return Sniffed::NeedMore(Service::Ssl),
        (Ok(_), _) => return Sniffed::Malformed(Service::Ssl),
    };
    match server_names(hello) {
        Ok(names) => Sniffed::Done(Service::Ssl, names),
        Err(_) => Sniffed::Malformed(Service::Ssl),
    }
}

/// Puts together what the handshake records hold, as a message may lie in several.
fn records(bytes: &[u8], handshake: &mut Vec<u8>) -> Result<(), Stop> {
    let mut reader = Reader(bytes);
    loop {
        let header = match reader.take(3) {
            Ok(header) => header,
            Err(_) if reader.0.get(1).is_some_and(|major| *major != 3) => return Err(Stop::Wrong),
            Err(_) => return Ok(()),
        };
        if header[1] != 3 {
            return Err(Stop::Wrong);
        }
        if header[0] != 0x16 {
            // The hello is whole, or it is interrupted, which is not allowed.
            return if hello_is_whole(handshake) { Ok(()) } else { Err(Stop::Wrong) };
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

fn server_names(mut hello: Reader<'_>) -> Result<Vec<String>, Stop> {
    hello.take(2 + 32)?;
    hello.vector(1)?;
    hello.vector(2)?;
    hello.vector(1)?;
    let mut names = Vec::new();
    if hello.0.is_empty() {
        return Ok(names);
    }
    let mut extensions = hello.vector(2)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut body = extensions.vector(2)?;
        if kind != 0 {
            continue;
        }
        let mut list = body.vector(2)?;
        while !list.0.is_empty() {
            let kind = list.number(1)?;
            let name = list.vector(2)?;
            // One name is all that is allowed; a second one would be read by some and not by others.
            if kind != 0 || !names.is_empty() || name.0.is_empty() {
                return Err(Stop::Wrong);
            }
            let name = String::from_utf8_lossy(name.0).to_lowercase();
            names.push(name.strip_suffix('.').unwrap_or(&name).to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::{Service, Sniffed, sniff};

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

    fn ssl(claims: &[&str]) -> Sniffed {
        Sniffed::Done(Service::Ssl, claims.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_name_of_the_server() {
        let other = extension(43, &[2, 3, 4]);
        let both = message(&[other.clone(), sni(b"Example.com"), other.clone()]);
        assert_eq!(sniff(&record(&both)), ssl(&["example.com"]));
        assert_eq!(sniff(&record(&message(std::slice::from_ref(&other)))), ssl(&[]));
        let (first, second) = both.split_at(50);
        assert_eq!(sniff(&[record(first), record(second)].concat()), ssl(&["example.com"]), "in two records");
        let bytes: Vec<u8> = both.iter().flat_map(|byte| record(&[*byte])).collect();
        assert_eq!(sniff(&bytes), ssl(&["example.com"]), "in as many records as bytes");
        assert_eq!(
            sniff(&[record(&both), vec![0x17, 3, 3, 0, 1, 0]].concat()),
            ssl(&["example.com"]),
            "more behind it"
        );
        assert_eq!(sniff(&record(&message(&[sni(&[0xff, b'a'])]))), ssl(&["\u{fffd}a"]));
    }

    #[test]
    fn what_two_readers_may_read_differently_is_malformed() {
        let malformed = Sniffed::Malformed(Service::Ssl);
        let twice = message(&[sni(b"a.test"), sni(b"b.test")]);
        assert_eq!(sniff(&record(&twice)), malformed);
        assert_eq!(sniff(&record(&message(&[sni(b"")]))), malformed);
        let mut broken = message(&[sni(b"a.test")]);
        let at = broken.len() - 7;
        broken[at] = 200;
        assert_eq!(sniff(&record(&broken)), malformed, "a length beyond the end");
        let (first, second) = twice.split_at(20);
        let alert = vec![0x15, 3, 3, 0, 2, 1, 0];
        assert_eq!(sniff(&[record(first), alert, record(second)].concat()), malformed, "interrupted");
        assert_eq!(sniff(&record(&[2, 0, 0, 0])), malformed, "a client does not send this");
        assert_eq!(sniff(&[0x16, 3, 1, 0, 0]), malformed);
        assert_eq!(sniff(&[0x16, 3, 1, 0xff, 0xff]), malformed);
        assert_eq!(sniff(&[0x16, 9, 9]), Sniffed::Done(Service::Unknown, Vec::new()));
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
