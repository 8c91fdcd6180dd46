//! Real web servers behind a filter: whatever bytes a client sends, what they serve is what decklog read.
//!
//! Each answers with the host that it serves, as `<HOST>`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::rr::RecordType;

use crate::names::ask;
use crate::world::{Space, World, brief, until};

const PYTHON: &str = r#"
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)
    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        body = f"<{self.headers.get('Host', '')}>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer.request_queue_size = 1000
http.server.ThreadingHTTPServer(("198.51.100.7", 8001), Handler).serve_forever()
"#;

const NODE: &str = r#"
const serve = (request, response) => {
  request.resume();
  response.end(`<${request.headers.host ?? ""}>`);
};
require("http").createServer(serve).listen(8002, "198.51.100.7");
"#;

const JAVA: &str = r#"
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
public class Server {
    public static void main(String[] words) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("198.51.100.7", 8003), 100);
        server.createContext("/", exchange -> {
            exchange.getRequestBody().readAllBytes();
            byte[] body = ("<" + exchange.getRequestHeaders().getFirst("Host") + ">").getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.setExecutor(java.util.concurrent.Executors.newCachedThreadPool());
        server.start();
    }
}
"#;

const NGINX: &str = "
daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server { listen 198.51.100.7:8004 default_server; server_name other.test; return 200 \"<other $host>\"; }
    server { listen 198.51.100.7:8004; server_name web.test; return 200 \"<$host>\"; }
}
";

const HAPROXY: &str = "
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 5s
frontend all
    bind 198.51.100.7:8005
    http-request return status 200 content-type text/plain lf-string \"<%[req.hdr(host)]>\"
";

/// A server's program, with its arguments, the file it is given and the port it listens on.
type Server = (&'static [&'static str], &'static str, &'static str, u16);

const SERVERS: [Server; 5] = [
    (&["python3", "server.py"], "server.py", PYTHON, 8001),
    (&["node", "server.js"], "server.js", NODE, 8002),
    (&["java", "Server.java"], "Server.java", JAVA, 8003),
    (&["nginx", "-p", ".", "-e", "stderr", "-c", "nginx.conf"], "nginx.conf", NGINX, 8004),
    (&["haproxy", "-f", "haproxy.cfg"], "haproxy.cfg", HAPROXY, 8005),
];

/// Bytes that every one of them serves, as this host, so many times.
const SERVED: &[(&[u8], usize)] = &[
    (b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n", 1),
    (b"GET / HTTP/1.0\r\nHost: web.test:80\r\n\r\n", 1),
    (b"GET /?u=http://other.test/ HTTP/1.1\r\nHost: WEB.test\r\nX-Forwarded-Host: other.test\r\n\r\n", 1),
    (b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 36\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n", 1),
    (b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\nGET /x HTTP/1.1\r\nHost: web.test\r\n\r\n", 2),
];

/// Bytes by which some server, without a filter, serves another host.
const HOSTILE: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: other.test\r\n",
    b"GET / HTTP/1.1\r\nHost: other.test",
    b"GET / HTTP/1.1\r\nHost: other.test\r\n\r",
    b"GET / HTTP/1.1",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET /",
    b"GET /\r\n",
    b"GET x\r\n",
    b"GET /\r\nHost: other.test\r\n\r\n",
    b"POST /\r\nHost: other.test\r\n\r\n",
    b"OPTIONS *\r\nHost: other.test\r\n\r\n",
    b"GET http://other.test/\r\n",
    b"GET http://other.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n",
    b"GET http://web.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"GET http://web.test/ HTTP/1.0\r\n\r\n",
    b"GET http://web.test@other.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n",
    b"GET //other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"GET / RTSP/1.0\r\nHost: other.test\r\n\r\n",
    b"SOURCE / ICE/1.0\r\nHost: other.test\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: other.test\r\n\r\n",
    b"GET / nonsense\r\nHost: other.test\r\n\r\n",
    b"X / y\r\nHost: other.test\r\n\r\n",
    b"\0 / y\r\nHost: other.test\r\n\r\n",
    b"\x80 / y\r\nHost: other.test\r\n\r\n",
    b"\x16\x01\0\0\x07\0 / y\r\nHost: other.test\r\n\r\n",
    b"PING\n / y\r\nHost: other.test\r\n\r\n",
    b"SSH-2.0-x / y\r\nHost: other.test\r\n\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"\n\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b" GET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"GET\xa0/\xa0HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"\xa0GET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"GET\x1c/ HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"GET / HTTP/1.1\nHost: other.test\n\n",
    b"GET / HTTP/1.1\r\nHost: [web.test]other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test@other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test/other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test,other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test\0other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test..\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: w\xc3\xa9b.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: other.test\r\nHost: web.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test\r\nHost: other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : web.test\r\nHost: other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : web.test\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: web.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\r\n Host: web.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test\r\n other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\nHost: other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\rHost: web.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\nHost: web.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\r\n\nHost: web.test\r\n\r\n",
    // Later requests of the connection.
    b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: web.test\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: xchunked\r\nContent-Length: 99\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 0\r\nContent-Length: 99\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length : 99\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 0, 99\r\n\r\nGET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
];

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).chain([Path::new("/usr/sbin").into()]).any(|dir| dir.join(program).is_file())
}

/// Starts the servers that are installed. Java is large, and need not be.
fn start(internet: &Space, dir: &Path) -> Vec<(u16, Running)> {
    let mut running = Vec::new();
    for (words, file, text, port) in SERVERS {
        if !has(words[0]) {
            let needed = words[0] != "java" && std::env::var_os("DECKLOG_TEST_REQUIRE_ALL").is_some();
            assert!(!needed, "{} is not installed", words[0]);
            println!("skipped: {} is not installed", words[0]);
            continue;
        }
        std::fs::write(dir.join(file), text).expect("a file");
        let log = std::fs::File::create(dir.join(format!("{port}.log"))).expect("a file");
        let mut command = Command::new("nsenter");
        command.args(["--target", &internet.pid().to_string(), "--net"]).args(words).current_dir(dir);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("nsenter runs");
        running.push((port, Running(child)));
    }
    for (port, _) in &running {
        until("the server listens", || internet.connect(&format!("198.51.100.7:{port}")).is_ok());
    }
    running
}

/// The hosts that are served for these bytes, sent in pieces of so many: until there are as many as are expected, or, where
/// none are, until everything has come to an end.
fn served(mut stream: TcpStream, bytes: &[u8], piece: usize, expected: usize) -> Vec<String> {
    let _ = stream.set_nodelay(true);
    let _ = bytes.chunks(piece).try_for_each(|piece| stream.write_all(piece));
    if expected == 0 {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let (mut back, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        back.extend_from_slice(&buffer[..count]);
        if expected > 0 && hosts(&back).len() >= expected {
            break;
        }
    }
    hosts(&back)
}

fn hosts(responses: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(responses).to_lowercase();
    let hosts = text.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(host, _)| host);
    // What servers say of bad requests is HTML.
    let hosts = hosts.filter(|host| !host.starts_with('/') && is_no_tag(host));
    hosts.map(|host| host.split(':').next().unwrap_or_default().trim_end_matches('.').to_owned()).collect()
}

fn is_no_tag(text: &str) -> bool {
    let tag = text.split_whitespace().next().unwrap_or_default();
    !["html", "head", "title", "body", "center", "h1", "hr", "p", "meta", "!doctype", "style"].contains(&tag)
}

#[test]
fn no_server_serves_a_host_that_was_not_read() {
    let world = World::filter(&["web.test"]);
    let dir = tempfile::tempdir().expect("a directory");
    let servers = start(&world.internet, dir.path());
    world.names.set("web.test", 600, &["198.51.100.7"]);
    ask(&world, "web.test", RecordType::A);
    let others = Mutex::new(BTreeSet::new());
    let next = AtomicUsize::new(0);
    let check = |port: u16, number: usize| {
        let (to, bytes) = (format!("198.51.100.7:{port}"), HOSTILE[number]);
        let open = world.internet.connect(&to).expect("connected");
        // Some servers never answer a part of a request.
        open.set_read_timeout(Some(Duration::from_secs(2))).expect("set");
        if served(open, bytes, bytes.len(), 0).iter().any(|host| host != "web.test") {
            others.lock().expect("others").insert(number);
        }
        for piece in [1, bytes.len()] {
            let found = served(world.inside.connect(&to).expect("connected"), bytes, piece, 0);
            let text = String::from_utf8_lossy(bytes);
            assert!(found.iter().all(|host| host == "web.test"), "{to} serves {found:?} for {text:?}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                while let Some(number) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|next| *next < HOSTILE.len() * servers.len())
                {
                    check(servers[number % servers.len()].0, number / servers.len());
                }
            });
        }
    });
    for (port, _) in &servers {
        let to = format!("198.51.100.7:{port}");
        for (bytes, count) in SERVED {
            for piece in [1, 7, bytes.len()] {
                let found = served(world.inside.connect(&to).expect("connected"), bytes, piece, *count);
                assert_eq!(found, vec!["web.test"; *count], "{to} for {:?}", String::from_utf8_lossy(bytes));
            }
        }
    }
    let others = others.into_inner().expect("others");
    let harmless: Vec<_> = (0..HOSTILE.len()).filter(|number| !others.contains(number)).collect();
    println!("no server serves another host for: {harmless:?}");
    assert!(others.len() > HOSTILE.len() / 2, "the bytes are hostile without a filter: {others:?}");
    for record in world.records().iter().filter(|record| record["proto"] == "tcp") {
        let denied = record["decklog.action"] == "deny";
        let rule = record["decklog.rule"].as_str().unwrap_or_default();
        assert_eq!(denied, ["claimed name", "unparsed"].contains(&rule), "{}", brief(record));
    }
}
