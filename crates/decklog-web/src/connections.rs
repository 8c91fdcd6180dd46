//! Connections: bounded in number and in time, so that no client can shut out signed-in users.
//!
//! Must not know: what is asked, and what a cookie looks like.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service as _;

/// Bytes of a request's head, and of what waits to be sent.
const BUFFER: usize = 64 * 1024;

/// How long is waited when the system gives no connection.
const PAUSE: Duration = Duration::from_millis(50);

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at a time.
    pub(crate) most: usize,
    /// From the moment that a request can come until its head is whole: for a new connection, and between two requests.
    pub(crate) head: Duration,
    /// From the head of a request until its body is whole.
    pub(crate) body: Duration,
    /// How long a client may read nothing of a response that is ready.
    pub(crate) stall: Duration,
}

impl Limits {
    /// With so many file descriptors: half of them are for sessions and indexes.
    pub(crate) fn new(descriptors: u64) -> Self {
        let most = usize::try_from(descriptors / 2).unwrap_or(usize::MAX).clamp(16, 512);
        let seconds = Duration::from_secs;
        Self { most, head: seconds(20), body: seconds(20), stall: seconds(60) }
    }
}

/// A connection that is open.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// When it was last at work: a count of what happened on all of them.
    last: AtomicU64,
    /// Requests that are being answered.
    busy: AtomicUsize,
    is_signed_in: AtomicBool,
    close: Notify,
}

impl Connection {
    /// The client has authenticated.
    pub(crate) fn sign_in(&self) {
        self.is_signed_in.store(true, Ordering::Relaxed);
    }
}

/// The connections that are open, in the order in which they came.
#[derive(Debug, Default)]
struct Table {
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    count: AtomicU64,
}

impl Table {
    fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes in a new connection, for which another has to make room where there are `most`. `None` when none can: all are
    /// signed in and at work.
    fn open(self: &Arc<Self>, most: usize) -> Option<Open> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= most {
            let number = closable(&open)?;
            if let Some(closed) = open.remove(&number) {
                closed.close.notify_one();
            }
        }
        let number = self.next();
        let connection = Arc::new(Connection { last: number.into(), ..Connection::default() });
        open.insert(number, Arc::clone(&connection));
        Some(Open { table: Arc::clone(self), number, connection })
    }

    /// Closes the connection that can be missed first, if there is one.
    fn close_one(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(closed) = closable(&open).and_then(|number| open.remove(&number)) {
            closed.close.notify_one();
        }
    }
}

/// The connection that can be missed first: of those that are not signed in, then of those that are idle, the oldest.
fn closable(open: &BTreeMap<u64, Arc<Connection>>) -> Option<u64> {
    let rank = |connection: &Connection| {
        let is_signed_in = connection.is_signed_in.load(Ordering::Relaxed);
        let is_busy = is_signed_in && connection.busy.load(Ordering::Relaxed) > 0;
        (!is_busy).then(|| (is_signed_in, connection.last.load(Ordering::Relaxed)))
    };
    let ranked = open.iter().filter_map(|(number, connection)| Some((rank(connection)?, *number)));
    ranked.min().map(|(_, number)| number)
}

/// A place in the table, as long as it lives.
struct Open {
    table: Arc<Table>,
    number: u64,
    connection: Arc<Connection>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.table.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Accepts connections and lets `router` answer what comes, for ever.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: Limits) {
    let table = Arc::new(Table::default());
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Mostly there are no file descriptors left.
            table.close_one();
            sleep(PAUSE).await;
            continue;
        };
        if let Some(open) = table.open(limits.most) {
            tokio::spawn(answer(socket, open, router.clone(), limits));
        }
    }
}

/// Answers the requests of a connection until one of both sides closes it.
async fn answer(socket: TcpStream, open: Open, router: Router, limits: Limits) {
    let _ = socket.set_nodelay(true);
    let Open { table, connection, .. } = &open;
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        let busy = Busy::new(table, connection);
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(connection));
        async move {
            let answer = router.call(request).await?;
            Ok::<_, std::convert::Infallible>(answer.map(|body| Held { body, _busy: busy }))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Unstalled::new(socket, limits.stall)), service);
    tokio::select! {
        // A client that disconnects in the middle of something needs no answer.
        _ = served => {}
        () = connection.close.notified() => {}
    }
}

/// A request that is being answered.
struct Busy {
    table: Arc<Table>,
    connection: Arc<Connection>,
}

impl Busy {
    fn new(table: &Arc<Table>, connection: &Arc<Connection>) -> Self {
        connection.busy.fetch_add(1, Ordering::Relaxed);
        Self { table: Arc::clone(table), connection: Arc::clone(connection) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.connection.busy.fetch_sub(1, Ordering::Relaxed);
        self.connection.last.store(self.table.next(), Ordering::Relaxed);
    }
}

/// The body of an answer; its connection is busy as long as it lives.
struct Held {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, of which everything has to come in time.
pub(crate) struct Timely {
    body: Body,
    deadline: Pin<Box<Sleep>>,
    is_late: Arc<AtomicBool>,
}

impl Timely {
    /// `is_late` is set when it does not.
    pub(crate) fn new(body: Body, patience: Duration, is_late: Arc<AtomicBool>) -> Self {
        Self { body, deadline: Box::pin(sleep(patience)), is_late }
    }
}

impl http_body::Body for Timely {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.deadline.as_mut().poll(context));
        self.is_late.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(axum::Error::new(io::Error::from(io::ErrorKind::TimedOut)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that fails when the other side takes nothing for too long.
struct Unstalled {
    socket: TcpStream,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl Unstalled {
    fn new(socket: TcpStream, patience: Duration) -> Self {
        Self { socket, patience, deadline: Box::pin(sleep(patience)), is_waiting: false }
    }

    fn check<T>(&mut self, done: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.is_waiting = false;
            return done;
        }
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.deadline.as_mut().reset(Instant::now() + self.patience);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Unstalled {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, out)
    }
}

impl AsyncWrite for Unstalled {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.check(done, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.check(done, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.socket).poll_flush(context);
        self.check(done, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.socket).poll_shutdown(context);
        self.check(done, context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::SocketAddr;

    use axum::routing::{get, post};

    use super::*;

    fn is_open(table: &Table, open: &Open) -> bool {
        table.open.lock().expect("a table").contains_key(&open.number)
    }

    /// Answers connections with `limits` while `test` talks to the address.
    fn served(limits: Limits, test: impl FnOnce(SocketAddr) + Send + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            let address = listener.local_addr().expect("an address");
            let much = Bytes::from(vec![b'x'; 64 << 20]);
            let router = Router::new()
                .route("/", get(async || "here"))
                .route("/much", get(async move || much))
                .route("/stream", get(async || Body::new(Endless)))
                .route("/take", post(take));
            let client = tokio::task::spawn_blocking(move || test(address));
            tokio::select! {
                () = serve(listener, router, limits) => {}
                done = client => done.expect("a test"),
            }
        });
    }

    async fn take(request: Request) -> String {
        let is_late = Arc::new(AtomicBool::new(false));
        let body = Timely::new(request.into_body(), Duration::from_millis(50), Arc::clone(&is_late));
        let whole = axum::body::to_bytes(Body::new(body), 100).await.is_ok();
        format!("whole: {whole}, late: {}", is_late.load(Ordering::Relaxed))
    }

    /// A body of which nothing comes.
    struct Endless;

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            Poll::Pending
        }
    }

    fn limits() -> Limits {
        let long = Duration::from_secs(3600);
        Limits { most: 4, head: long, body: long, stall: long }
    }

    fn connect(address: SocketAddr, request: &str) -> std::net::TcpStream {
        let mut socket = std::net::TcpStream::connect(address).expect("a connection");
        socket.write_all(request.as_bytes()).expect("sent");
        socket
    }

    /// What comes until the server closes.
    fn rest(mut socket: std::net::TcpStream) -> String {
        let mut all = Vec::new();
        // A connection that the server closes may be reset.
        let _ = socket.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    #[test]
    fn a_request_that_does_not_come_ends_its_connection() {
        let limits = Limits { head: Duration::from_millis(50), ..limits() };
        served(limits, |address| {
            for part in ["", "GET / HTTP/1.1\r\nhost: x\r\n", "GET"] {
                assert!(!rest(connect(address, part)).contains("here"), "{part:?}");
            }
            // One that was answered, and asks no more.
            assert!(rest(connect(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")).ends_with("here"));
        });
    }

    #[test]
    fn a_body_that_does_not_come_is_not_waited_for() {
        served(limits(), |address| {
            let head = "POST /take HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\n";
            assert!(rest(connect(address, &format!("{head}ab"))).ends_with("whole: false, late: true"));
            assert!(rest(connect(address, &format!("{head}abcd"))).ends_with("whole: true, late: false"));
        });
    }

    #[test]
    fn whoever_takes_nothing_of_an_answer_is_not_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            let address = listener.local_addr().expect("an address");
            let much = Bytes::from(vec![b'x'; 64 << 20]);
            let router = Router::new().route("/much", get(async move || much));
            let client = connect(address, "GET /much HTTP/1.1\r\nhost: x\r\n\r\n");
            let (socket, _) = listener.accept().await.expect("a connection");
            let open = Arc::new(Table::default()).open(4).expect("room");
            // It returns, although the client neither reads nor disconnects.
            answer(socket, open, router, Limits { stall: Duration::from_millis(50), ..limits() }).await;
            drop(client);
        });
    }

    #[test]
    fn connections_beyond_the_limit_close_older_ones_and_a_stream_waits_as_long_as_it_likes() {
        let short = Duration::from_millis(50);
        let limits = Limits { head: short, stall: short, ..limits() };
        served(limits, |address| {
            let stream = connect(address, "GET /stream HTTP/1.1\r\nhost: x\r\n\r\n");
            // Longer than any of the limits: each of these ends by one.
            for _ in 0..3 {
                assert!(!rest(connect(address, "GET")).contains("200"));
            }
            stream.set_nonblocking(true).expect("a mode");
            let mut bytes = [0; 4096];
            let read = (&stream).read(&mut bytes).expect("its head");
            assert!(String::from_utf8_lossy(&bytes[..read]).starts_with("HTTP/1.1 200"));
            let more = (&stream).read(&mut bytes).map_err(|error| error.kind());
            assert_eq!(more, Err(io::ErrorKind::WouldBlock), "it is open still");
        });
        served(self::limits(), |address| {
            let sockets: Vec<_> = (0..40).map(|_| connect(address, "GET")).collect();
            assert!(rest(connect(address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).ends_with("here"));
            let closed = sockets.into_iter().take(36).map(rest);
            assert!(closed.into_iter().all(|answer| answer.is_empty()), "the oldest went");
        });
    }

    #[test]
    fn strangers_make_room_first_and_then_who_is_idle() {
        let table = Arc::new(Table::default());
        let [signed_in, stranger, busy, idle] = [(); 4].map(|()| table.open(4).expect("room"));
        for known in [&signed_in, &busy, &idle] {
            known.connection.sign_in();
        }
        let request = Busy::new(&table, &busy.connection);
        let newest = table.open(4).expect("room of a stranger's");
        assert!(!is_open(&table, &stranger) && is_open(&table, &signed_in));
        // A stranger at work makes room, too: work is what strangers cannot have.
        let _at_work = Busy::new(&table, &newest.connection);
        let other = table.open(4).expect("room of a stranger's");
        assert!(!is_open(&table, &newest) && is_open(&table, &signed_in) && is_open(&table, &idle));
        other.connection.sign_in();
        // The one that was at work last is the last to go.
        drop(Busy::new(&table, &signed_in.connection));
        let last = table.open(4).expect("room of one that is idle");
        assert!(!is_open(&table, &idle) && is_open(&table, &signed_in) && is_open(&table, &busy));
        last.connection.sign_in();
        let busy_ones: Vec<_> = [&signed_in, &other, &last].map(|open| Busy::new(&table, &open.connection)).into();
        assert!(table.open(4).is_none(), "all are signed in and at work");
        drop(busy_ones);
        assert!(table.open(4).is_some() && is_open(&table, &busy));
        drop(request);
    }
}
