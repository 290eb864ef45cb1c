//! A network that can fail: what one worker and the coordinator say to each other passes through here.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the state of the line is looked at while nothing moves.
const TICK: Duration = Duration::from_millis(20);
/// The same while something waits for its time.
const SHORT_TICK: Duration = Duration::from_millis(4);
/// What a line that delivers nothing takes in before the sender has to wait, as a kernel's buffers would.
const BUFFER: usize = 1 << 20;
/// For how long a connection to the coordinator is tried.
const DIAL: Duration = Duration::from_secs(2);

/// What becomes of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It arrives.
    Open,
    /// Connections end and none comes about.
    Cut,
    /// It waits until the line is open again.
    Held {
        /// What the worker says.
        up: bool,
        /// What it is told.
        down: bool,
    },
    /// It is swallowed, both ways. Connections end when the line is open again: their bytes no longer make sense.
    Swallowed,
    /// It arrives so much later.
    Late(Duration),
}

/// Where the coordinator listens at the moment, shared by all proxies; none while there is no coordinator.
#[derive(Debug, Clone, Default)]
pub struct Upstream(Arc<Mutex<Option<SocketAddr>>>);

impl Upstream {
    /// The coordinator listens there now.
    pub fn set(&self, address: Option<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Where it listens.
    pub fn get(&self) -> Option<SocketAddr> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shared {
    line: Mutex<Line>,
    upstream: Upstream,
    ended: AtomicBool,
}

impl Shared {
    fn line(&self) -> Line {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's way to the coordinator.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a port of the system's choice.
    ///
    /// # Errors
    /// There is none.
    pub fn start(ip: IpAddr, upstream: Upstream) -> io::Result<Self> {
        let listener = TcpListener::bind((ip, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { line: Mutex::new(Line::Open), upstream, ended: AtomicBool::new(false) });
        let listened = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("proxy {}", address.port()))
            .spawn(move || listen(&listener, &listened))?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where the worker finds the coordinator.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the line is so.
    pub fn set(&self, line: Line) {
        *self.shared.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }

    /// How the line is.
    pub fn line(&self) -> Line {
        self.shared.line()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that failed has said so.
            let _ = thread.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((worker, _)) = listener.accept() else {
            std::thread::sleep(TICK);
            continue;
        };
        if shared.line() == Line::Cut {
            continue;
        }
        let Some(address) = shared.upstream.get() else { continue };
        let shared = Arc::clone(shared);
        // A connection that cannot be passed on is dropped, and the worker tries again.
        std::thread::spawn(move || connect(worker, address, &shared));
    }
}

fn connect(worker: TcpStream, address: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    let coordinator = TcpStream::connect_timeout(&address, DIAL)?;
    for stream in [&worker, &coordinator] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
    }
    let (down_from, down_to) = (coordinator.try_clone()?, worker.try_clone()?);
    let down = Arc::clone(shared);
    std::thread::spawn(move || pump(down_from, down_to, false, &down));
    pump(worker, coordinator, true, shared);
    Ok(())
}

/// Passes on what comes from one side until either side ends, or the line does; `up` is from the worker.
fn pump(mut from: TcpStream, mut to: TcpStream, up: bool, shared: &Shared) {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut buffer = [0; 16 * 1024];
    let (mut size, mut broken, mut at_end) = (0, false, false);
    while !shared.ended.load(Ordering::Relaxed) {
        let line = shared.line();
        let swallows = line == Line::Swallowed;
        let holds =
            matches!(line, Line::Held { up: held_up, down } if if up { held_up } else { down }) || swallows;
        if line == Line::Cut || (broken && !swallows) {
            break;
        }
        if !holds {
            let mut sent = Ok(());
            while let Some((_, bytes)) = waiting.front().filter(|(at, _)| *at <= Instant::now()) {
                sent = to.write_all(bytes);
                size -= bytes.len();
                waiting.pop_front();
                if sent.is_err() {
                    break;
                }
            }
            if sent.is_err() || (at_end && waiting.is_empty()) {
                break;
            }
        }
        if at_end || size > BUFFER {
            std::thread::sleep(SHORT_TICK);
            continue;
        }
        let tick = if waiting.is_empty() { TICK } else { SHORT_TICK };
        if from.set_read_timeout(Some(tick)).is_err() {
            break;
        }
        match from.read(&mut buffer) {
            // That a side ends is swallowed and held like everything else.
            Ok(0) => (at_end, broken) = (true, swallows),
            Ok(_) if swallows => broken = true,
            Ok(count) => {
                let delay = if let Line::Late(delay) = line { delay } else { Duration::ZERO };
                waiting.push_back((Instant::now() + delay, buffer[..count].to_vec()));
                size += count;
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => break,
            },
        }
    }
    // The other direction sees this and ends too. A side may be gone already.
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::wait::until;

    /// A proxy in front of a listener that we hold.
    fn pair() -> (Proxy, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let upstream = Upstream::default();
        upstream.set(Some(listener.local_addr().expect("an address")));
        let proxy = Proxy::start(Ipv4Addr::LOCALHOST.into(), upstream).expect("a proxy");
        let worker = TcpStream::connect(proxy.address()).expect("connected");
        let (coordinator, _) = listener.accept().expect("accepted");
        for stream in [&worker, &coordinator] {
            stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        }
        (proxy, worker, coordinator)
    }

    fn say(stream: &mut TcpStream, text: &str) {
        stream.write_all(text.as_bytes()).expect("said");
    }

    fn hear(stream: &mut TcpStream) -> Option<String> {
        let mut buffer = [0; 100];
        stream.read(&mut buffer).ok().map(|count| String::from_utf8_lossy(&buffer[..count]).into_owned())
    }

    fn hear_at_last(stream: &mut TcpStream) -> String {
        until("a word", || hear(stream))
    }

    #[test]
    fn an_open_line_passes_everything_on() {
        let (_proxy, mut worker, mut coordinator) = pair();
        say(&mut worker, "hello");
        assert_eq!(hear_at_last(&mut coordinator), "hello");
        say(&mut coordinator, "welcome");
        assert_eq!(hear_at_last(&mut worker), "welcome");
        drop(worker);
        assert_eq!(hear_at_last(&mut coordinator), "", "the end passes too");
    }

    #[test]
    fn a_cut_ends_both_sides_and_lets_nobody_in() {
        let (proxy, mut worker, mut coordinator) = pair();
        proxy.set(Line::Cut);
        assert_eq!(hear_at_last(&mut worker), "");
        assert_eq!(hear_at_last(&mut coordinator), "");
        let mut another = TcpStream::connect(proxy.address()).expect("connected");
        let mut buffer = [0; 1];
        another.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        assert!(!matches!(another.read(&mut buffer), Ok(1..)), "somebody answered");
    }

    #[test]
    fn one_direction_is_held_and_delivered() {
        let (proxy, mut worker, mut coordinator) = pair();
        proxy.set(Line::Held { up: true, down: false });
        std::thread::sleep(TICK * 5);
        say(&mut worker, "hello");
        say(&mut coordinator, "welcome");
        assert_eq!(hear_at_last(&mut worker), "welcome");
        assert_eq!(hear(&mut coordinator), None);
        proxy.set(Line::Open);
        assert_eq!(hear_at_last(&mut coordinator), "hello");
    }

    #[test]
    fn what_is_swallowed_is_gone_and_the_connection_with_it() {
        let (proxy, mut worker, mut coordinator) = pair();
        proxy.set(Line::Swallowed);
        std::thread::sleep(TICK * 5);
        say(&mut worker, "hello");
        assert_eq!(hear(&mut coordinator), None, "the connection stays open");
        proxy.set(Line::Open);
        assert_eq!(hear_at_last(&mut coordinator), "");
        assert_eq!(hear_at_last(&mut worker), "");
    }

    #[test]
    fn late_is_late() {
        let (proxy, mut worker, mut coordinator) = pair();
        let delay = Duration::from_millis(400);
        proxy.set(Line::Late(delay));
        std::thread::sleep(TICK * 5);
        let said = Instant::now();
        say(&mut worker, "hello");
        assert_eq!(hear_at_last(&mut coordinator), "hello");
        assert!(said.elapsed() >= delay, "{:?}", said.elapsed());
    }
}
