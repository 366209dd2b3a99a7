//! What a proxy without toxics costs, side by side with haproxy, nginx and socat, those of them that are installed, and
//! with no proxy at all: gigabits per second and processor time per gigabyte with one and with eight connections, and
//! 64-byte round trips.
//!
//! `cargo run --release -p squall-faultproxy --example passthrough [SECONDS [ROUNDS [latency]]]`; with `latency` the round trips only.
//!
//! Rounds are interleaved, medians count. Processor time is that of the proxy's processes alone; load and proxy share
//! all cores for the throughput, and one single core for the round trips, where a wake-up across cores would be most of
//! what is measured.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on may as well say where")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, SysconfVar, sysconf};
use squall_faultproxy::{FaultProxy, Options, ProxySpec};
use tokio_util::sync::CancellationToken;

const BLOCK: usize = 128 << 10;
const SYSTEMS: [&str; 6] = ["direct", "squall", "squall, noop", "haproxy", "nginx", "socat"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, upstream, toxics] = &args[..]
        && mode == "proxy"
    {
        return proxy(upstream, toxics == "noop");
    }
    let seconds = args.first().map_or(2.0, |text| text.parse().unwrap());
    let rounds = args.get(1).map_or(3, |text| text.parse().unwrap());
    let window = Duration::from_secs_f64(seconds);
    let connections: &[usize] = if args.get(2).is_some_and(|only| only == "latency") { &[] } else { &[1, 8] };
    let mut figures: BTreeMap<(usize, &str), Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for (nth, system) in SYSTEMS.into_iter().enumerate() {
            for connections in connections.iter().copied() {
                let Some((gbits, cpu)) = throughput(system, connections, window) else { continue };
                eprintln!("round {round}: {system}, {connections}: {gbits:.1} Gbit/s, {cpu:.2} CPU s/GB");
                figures
                    .entry((nth, if connections == 1 { "1 conn Gbit/s" } else { "8 conn Gbit/s" }))
                    .or_default()
                    .push(gbits);
                figures
                    .entry((nth, if connections == 1 { "1 conn CPU s/GB" } else { "8 conn CPU s/GB" }))
                    .or_default()
                    .push(cpu);
            }
            let Some((p50, p99)) = ping_pong(system, window) else { continue };
            eprintln!("round {round}: {system}: p50 {p50:.1} us, p99 {p99:.1} us");
            figures.entry((nth, "p50 us")).or_default().push(p50);
            figures.entry((nth, "p99 us")).or_default().push(p99);
        }
    }
    let columns = ["1 conn Gbit/s", "1 conn CPU s/GB", "8 conn Gbit/s", "8 conn CPU s/GB", "p50 us", "p99 us"];
    println!("| | {} |\n|---|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for (nth, system) in SYSTEMS.into_iter().enumerate() {
        let cells: Vec<_> = columns
            .iter()
            .map(|column| figures.get(&(nth, column)).map_or("–".to_owned(), |all| median(all)))
            .collect();
        println!("| {system} | {} |", cells.join(" | "));
    }
}

fn median(all: &[f64]) -> String {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    format!("{:.2} [{:.2}–{:.2}]", all[all.len() / 2], all[0], all[all.len() - 1])
}

/// The proxy that is measured, in a process of its own.
fn proxy(upstream: &str, noop: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let faults = FaultProxy::new(Options::default(), &CancellationToken::new());
        let listen = faults.create(ProxySpec::new("p", upstream)).await.unwrap().listen;
        if noop {
            for direction in squall_faultproxy::Direction::ALL {
                let toxic = squall_faultproxy::Attributes::of_type("noop").unwrap();
                faults.add_toxic("p", squall_faultproxy::ToxicSpec::new(direction, toxic)).unwrap();
            }
        }
        println!("{listen}");
        std::future::pending::<()>().await;
    });
}

/// A proxy of some kind, with all its processes.
struct Running {
    child: Option<Child>,
    listen: SocketAddr,
    _dir: Option<tempfile::TempDir>,
}

impl Running {
    /// `None` when it is not installed.
    fn start(system: &str, upstream: SocketAddr) -> Option<Self> {
        let listen = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
        let dir = tempfile::tempdir().unwrap();
        let mut command = match system {
            "direct" => return Some(Self { child: None, listen: upstream, _dir: None }),
            "squall" | "squall, noop" => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["proxy", &upstream.to_string(), if system == "squall" { "" } else { "noop" }]);
                command
            }
            "haproxy" => {
                let config = format!(
                    "global\n nbthread 2\n maxconn 1000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
                     listen p\n bind {listen}\n server s {upstream}\n"
                );
                configured(&find("haproxy")?, &["-f"], &dir.path().join("haproxy.cfg"), &config)
            }
            "nginx" => {
                let config = format!(
                    "daemon off;\nworker_processes 2;\npid {0}/pid;\nerror_log /dev/null;\n{1}events {{ worker_connections 1000; }}\n\
                     stream {{ server {{ listen {listen}; proxy_pass {upstream}; }} }}\n",
                    dir.path().display(),
                    stream_module(),
                );
                configured(&find("nginx")?, &["-c"], &dir.path().join("nginx.conf"), &config)
            }
            "socat" => {
                let mut command = Command::new(find("socat")?);
                command.arg(format!("TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,fork,nodelay", listen.port()));
                command.arg(format!("TCP:{upstream},nodelay"));
                command
            }
            _ => return None,
        };
        let ours = system.starts_with("squall");
        command.process_group(0).stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(if ours { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().unwrap();
        let listen = match child.stdout.take() {
            Some(stdout) => BufReader::new(stdout).lines().next().unwrap().unwrap().parse().unwrap(),
            None => listen,
        };
        let running = Self { child: Some(child), listen, _dir: Some(dir) };
        let start = Instant::now();
        // Each try is a connection that the upstream gets, too, and that ends at once.
        while TcpStream::connect(listen).is_err() {
            if start.elapsed() > Duration::from_secs(5) {
                eprintln!("{system} does not start here");
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(running)
    }

    /// Processor time of its process group, seconds.
    fn cpu(&self) -> f64 {
        let Some(child) = &self.child else { return 0.0 };
        let ticks = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as f64;
        let mut sum = 0.0;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
            let fields: Vec<&str> = rest.split(' ').collect();
            // State, parent, group, …: see proc(5); the first field here is its third.
            if fields[2].parse() == Ok(child.id()) {
                sum += fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum::<f64>() / ticks;
            }
        }
        sum
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its group is its own; nobody else is in it.
            let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

fn configured(program: &Path, args: &[&str], file: &Path, text: &str) -> Command {
    std::fs::write(file, text).unwrap();
    let mut command = Command::new(program);
    command.args(args).arg(file);
    command
}

fn find(program: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists())
}

fn stream_module() -> String {
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    if module.exists() { format!("load_module {};\n", module.display()) } else { String::new() }
}

/// Gigabits per second that arrive, and the proxy's CPU seconds per gigabyte.
fn throughput(system: &str, connections: usize, window: Duration) -> Option<(f64, f64)> {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Running::start(system, upstream.local_addr().unwrap())?;
    let (received, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let counter = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in upstream.incoming() {
            let (mut stream, counter) = (stream.unwrap(), Arc::clone(&counter));
            std::thread::spawn(move || {
                let mut buffer = vec![0; BLOCK];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    counter.fetch_add(len as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let senders: Vec<_> = (0..connections)
        .map(|_| {
            let (listen, over) = (proxy.listen, Arc::clone(&over));
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(listen).unwrap();
                let block = vec![7; BLOCK];
                while !over.load(Ordering::Relaxed) && stream.write_all(&block).is_ok() {}
            })
        })
        .collect();
    std::thread::sleep(window / 4);
    let (start, bytes, cpu) = (Instant::now(), received.load(Ordering::Relaxed), proxy.cpu());
    std::thread::sleep(window);
    let bytes = (received.load(Ordering::Relaxed) - bytes) as f64;
    let (took, cpu) = (start.elapsed().as_secs_f64(), proxy.cpu() - cpu);
    over.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    Some((bytes * 8.0 / took / 1e9, cpu / (bytes / 1e9)))
}

/// Microseconds of a 64-byte round trip, p50 and p99, with everything on one core.
fn ping_pong(system: &str, window: Duration) -> Option<(f64, f64)> {
    let all = (0..CpuSet::count()).filter(|cpu| Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}")).exists());
    let all: Vec<_> = all.collect();
    // Threads and processes that are started from here on inherit it.
    pin(&all[..1]);
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Running::start(system, upstream.local_addr().unwrap());
    let figures = proxy.map(|proxy| {
        std::thread::spawn(move || {
            for stream in upstream.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    let mut message = [0; 64];
                    while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
                });
            }
        });
        let mut stream = TcpStream::connect(proxy.listen).unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut times, mut message, start) = (Vec::new(), [7; 64], Instant::now());
        while start.elapsed() < window {
            let sent = Instant::now();
            stream.write_all(&message).unwrap();
            stream.read_exact(&mut message).unwrap();
            times.push(sent.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[times.len() * 99 / 100])
    });
    pin(&all);
    figures
}

fn pin(cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu).unwrap());
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}
