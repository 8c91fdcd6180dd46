//! HTTP/1.1 over a socket, byte for byte as a test wants it: any `Host`, any path, bodies that do not end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long a server may be silent before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a request of one's own making, and reads until the server closes.
pub(crate) fn raw(port: u16, request: &[u8]) -> Vec<u8> {
    let mut socket = connect(port);
    socket.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A server that refuses a request without reading it resets the connection.
    let _ = socket.read_to_end(&mut answer);
    answer
}

fn connect(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The words of a refusal.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {}", self.text())).to_owned()
    }
}

/// What an answer says before its body, names in small letters.
#[derive(Debug, Default)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Fails unless the browser is told to run, load, frame and guess nothing of its own accord.
    #[track_caller]
    fn are_strict(&self, what: &str) {
        let policy = self.get("content-security-policy").unwrap_or_default();
        for part in ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.split("; ").any(|one| one == part), "{what}: {part} is not in {policy:?}");
        }
        for lax in ["unsafe", "*", "data:", "http:", "https:", "blob:"] {
            assert!(!policy.contains(lax), "{what}: {policy}");
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(self.get(name), Some(value), "{what}: {name}");
        }
        assert_eq!(self.get("access-control-allow-origin"), None, "{what}");
    }
}

/// Whoever asks: under which name, and with which cookie.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) port: u16,
    pub(crate) cookie: Option<String>,
}

impl Client {
    /// Sends a request and reads what stands before the body. A header given here stands in place of what would be sent
    /// of itself; an empty one is left out.
    #[track_caller]
    pub(crate) fn open(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Headers, Body) {
        let host = format!("127.0.0.1:{}", self.port);
        let length = body.len().to_string();
        let mut all = vec![("host", host.as_str()), ("connection", "close")];
        all.extend(self.cookie.as_deref().map(|cookie| ("cookie", cookie)));
        all.extend((method == "POST").then_some(("content-length", length.as_str())));
        all.retain(|(name, _)| !headers.iter().any(|(given, _)| given == name));
        all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
        let mut request = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in all {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut socket = connect(self.port);
        socket.write_all(&[request.as_bytes(), body].concat()).unwrap();
        let mut source = BufReader::new(socket);
        let (status, headers) = before_body(&mut source);
        headers.are_strict(&format!("{method} {target}"));
        let left = match (headers.get("transfer-encoding"), headers.get("content-length")) {
            _ if method == "HEAD" => Left::Bytes(0),
            (Some("chunked"), _) => Left::Chunks(0),
            (_, Some(length)) => Left::Bytes(length.parse().unwrap()),
            _ => Left::Everything,
        };
        (status, headers, Body { source, left })
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let (status, headers, mut source) = self.open(method, target, headers, body);
        let mut body = Vec::new();
        source.read_to_end(&mut body).unwrap();
        Answer { status, headers, body }
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    /// What a path of the API answers.
    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> Value {
        let answer = self.get(&format!("/api/v1{path}")).expect(200);
        assert_eq!(answer.headers.get("content-type"), Some("application/json"), "{path}");
        answer.json()
    }

    /// What a path of the API says why it does not answer.
    #[track_caller]
    pub(crate) fn refusal(&self, path: &str) -> (u16, String) {
        let answer = self.get(&format!("/api/v1{path}"));
        (answer.status, answer.error())
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", &format!("/api/v1{path}"), &[("content-type", "application/json")], body.as_bytes())
    }

    /// Waits until all texts can be searched.
    #[track_caller]
    pub(crate) fn wait_for_texts(&self) {
        let is_known = |told: &Told| told.data["change"] != 0 && told.data["change"] == told.data["texts"];
        self.follow("/live", None).find(is_known).expect("the index of words");
    }

    /// Events, from the one after `last`.
    #[track_caller]
    pub(crate) fn follow(&self, path: &str, last: Option<&str>) -> Events {
        let headers: Vec<_> = last.map(|last| ("last-event-id", last)).into_iter().collect();
        let (status, headers, body) = self.open("GET", &format!("/api/v1{path}"), &headers, b"");
        assert_eq!((status, headers.get("content-type")), (200, Some("text/event-stream")));
        Events(BufReader::new(body))
    }
}

fn before_body(source: &mut impl BufRead) -> (u16, Headers) {
    let mut lines = source.lines().map(|line| line.unwrap());
    let first = lines.next().expect("an answer");
    let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    });
    (first.split(' ').nth(1).unwrap().parse().unwrap(), Headers(headers.collect()))
}

/// What is still to come of a body.
#[derive(Debug)]
enum Left {
    Bytes(u64),
    /// Bytes of the chunk that is being read, with its line's end.
    Chunks(u64),
    Everything,
}

/// A body while it comes.
#[derive(Debug)]
pub(crate) struct Body {
    source: BufReader<TcpStream>,
    left: Left,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.left {
            Left::Everything => self.source.read(buffer),
            Left::Bytes(left) => {
                let count = (&mut self.source).take(*left).read(buffer)?;
                if count == 0 && *left > 0 && !buffer.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= count as u64;
                Ok(count)
            }
            Left::Chunks(left) => {
                if *left == 0 {
                    let mut line = String::new();
                    self.source.read_line(&mut line)?;
                    let length = u64::from_str_radix(line.trim(), 16);
                    // A body that is cut off ends without the last chunk.
                    let length = length.map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
                    if length == 0 {
                        self.left = Left::Bytes(0);
                        return Ok(0);
                    }
                    *left = length;
                }
                let count = (&mut self.source).take(*left).read(buffer)?;
                *left -= count as u64;
                if *left == 0 {
                    self.source.read_exact(&mut [0; 2])?;
                }
                Ok(count)
            }
        }
    }
}

/// A server-sent event.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) id: Option<String>,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

/// Events as they come; they end with the stream, wherever it is cut.
#[derive(Debug)]
pub(crate) struct Events(BufReader<Body>);

impl Iterator for Events {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        let mut told = Told { id: None, kind: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
                Err(error) => panic!("no event came: {error}"),
            }
            let line = line.strip_suffix('\n')?;
            match line.split_once(": ") {
                Some(("id", id)) => told.id = Some(id.to_owned()),
                Some(("event", kind)) => told.kind = kind.to_owned(),
                Some(("data", data)) => told.data = serde_json::from_str(data).unwrap(),
                None if line.is_empty() && !told.kind.is_empty() => return Some(told),
                // Comments, and how long to wait before coming back.
                _ => {}
            }
        }
    }
}
