//! What an audit costs: how fast bytes come through it, and what a thousand connections at once take.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::Result;
use crate::bench::measure::{Bench, in_turn};
use crate::bench::report::Row;

use super::world::{Client, World};

/// What a container is told of the host's address.
const HOST: &str = "host=$(awk '/host.containers.internal/ { print $1; exit }' /etc/hosts)";

/// From a server on the host to a client in the container: through the audit, against podman's own network.
pub(crate) fn audit(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = throughput(bench)?;
    rows.extend(at_once(bench)?);
    Ok(rows)
}

/// A client of a container whose host can be listened on.
struct Way {
    client: Client,
    listener: TcpListener,
}

/// The audited way to the host's loopback, and podman's own to the address that it gives the host, each in a container.
fn ways<'a>(bench: &'a Bench) -> Result<(World<'a>, [Way; 2])> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let world = World::new(bench, &[listener.local_addr()?.port()])?;
    let audited = Way { client: Client::new(world.mcp("audit"))?, listener };
    let mut client = Client::new(world.mcp("default"))?;
    let host: IpAddr = client.run(&format!("{HOST}; echo $host"))?.trim().parse()?;
    let listener = TcpListener::bind((host, 0))?;
    Ok((world, [audited, Way { client, listener }]))
}

fn throughput(bench: &Bench) -> Result<Vec<Row>> {
    let bytes = bench.size(2048, 16) * 1024 * 1024;
    let (_world, mut ways) = ways(bench)?;
    let [ours, podmans] = in_turn(bench.size(5, 1), |which| {
        let Way { client, listener } = &mut ways[which];
        let (port, listener) = (listener.local_addr()?.port(), listener.try_clone()?);
        let server = std::thread::spawn(move || send(&listener, bytes));
        let url = format!("http://$host:{port}/");
        let said =
            client.run(&format!("{HOST}; curl -sS -o /dev/null -w '%{{time_total}} %{{size_download}}' {url}"))?;
        server.join().map_err(|_| "the server failed")??;
        match said.split_once(' ') {
            Some((took, size)) if size.trim() == bytes.to_string() => Ok(Duration::from_secs_f64(took.parse()?)),
            _ => Err(format!("curl took and got {said:?} of {bytes} bytes").into()),
        }
    })?;
    for Way { client, .. } in ways {
        client.leave()?;
    }
    let yardstick = ("podman's own network", podmans);
    Ok(vec![Row::rate("from the host into a container, audited", bytes as u64, ours, yardstick, 500.0)])
}

/// Answers one request with so many bytes.
fn send(listener: &TcpListener, bytes: usize) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut request = [0; 4096];
    let _ = stream.read(&mut request)?;
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n")?;
    let piece = vec![b'.'; 1 << 20];
    (0..bytes / piece.len()).try_for_each(|_| stream.write_all(&piece))
}

/// What a client says first on each of its connections, and what it waits for: its number, in eight digits.
const NUMBERED: &str = r#"
const [host, port, first, count] = process.argv.slice(1);
for (let number = +first; number < +first + +count; number++) {
  const mine = String(number).padStart(8, "0");
  let heard = "";
  const socket = require("node:net").connect(port, host, () => socket.write(mine));
  socket.on("data", (data) => (heard += data) === mine && socket.end());
  socket.on("close", () => heard === mine || process.exit(1));
}
"#;

/// Programs that make the connections: none may open more than about a thousand files.
const PROGRAMS: usize = 2;

fn at_once(bench: &Bench) -> Result<Vec<Row>> {
    let count = bench.size(1000, 50);
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let (world, ways) = ways(bench)?;
    let audited = ways[0].listener.local_addr()?.port();
    let mut memory = 0;
    let mut took = [Duration::ZERO; 2];
    for (which, Way { mut client, listener }) in ways.into_iter().enumerate() {
        let port = listener.local_addr()?.port();
        let server = gather(listener, count);
        let each = count / PROGRAMS;
        let start = format!("timeout 60 node -e '{NUMBERED}' $host {port}");
        client.run(&format!(
            "{HOST}; pids=; for at in $(seq 0 {}); do {start} $((at * {each})) {each} & pids=\"$pids $!\"; done\n\
             for pid in $pids; do wait $pid || exit 1; done",
            PROGRAMS - 1
        ))?;
        took[which] = server.join().map_err(|_| "the server failed")??;
        if which == 0 {
            memory = client.recorders_peak()?;
        }
        client.leave()?;
    }
    let whole = |line: &&serde_json::Value| {
        line["id.resp_p"] == audited && line["conn_state"] == "SF" && line["orig_bytes"] == 8 && line["resp_bytes"] == 8
    };
    let recorded = world.connections()?.iter().filter(whole).count();
    if recorded != count {
        return Err(format!("{recorded} of {count} connections are recorded").into());
    }
    let what = format!("{count} connections at once, audited: the first accepted → all answered and closed");
    Ok(vec![
        Row::beside(what, took[0], ("podman's own network", took[1])),
        Row::memory("the same: peak memory of the recorder", memory, 64),
    ])
}

/// Takes so many connections, answers each with what it says when all of them are open, and waits until all are closed.
fn gather(listener: TcpListener, count: usize) -> JoinHandle<std::io::Result<Duration>> {
    std::thread::spawn(move || {
        let mut open: Vec<TcpStream> = vec![listener.accept()?.0];
        let start = Instant::now();
        while open.len() < count {
            open.push(listener.accept()?.0);
        }
        let mut said = [0; 8];
        for stream in &mut open {
            stream.read_exact(&mut said)?;
            stream.write_all(&said)?;
        }
        for stream in &mut open {
            stream.read_to_end(&mut Vec::new())?;
        }
        Ok(start.elapsed())
    })
}
