//! The line of the demo: two ptys and between them a speed, a delay and noise, as on a modem line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{self, BaudRate, SetArg};

/// What the line is like.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// Bits per second, ten a byte; 0: as fast as it goes.
    pub speed: u32,
    pub latency: Duration,
    /// The chance of each byte to be damaged.
    pub noise: f64,
}

/// Both ends' counters.
#[derive(Debug, Default)]
pub struct Traffic {
    pub up: AtomicU64,
    pub down: AtomicU64,
    pub damaged: AtomicU64,
}

/// A line that is up. Its far end is handed to whoever answers.
pub struct Line {
    pub near: PathBuf,
    pub far: PathBuf,
    pub traffic: Arc<Traffic>,
    near_master: OwnedFd,
    /// Held open, so that what answers may come and go.
    _far_slave: OwnedFd,
}

/// One direction.
struct Direction {
    from: File,
    to: File,
    quality: Quality,
    seed: u64,
}

impl Line {
    pub fn open(quality: Quality) -> io::Result<Self> {
        let (near, far) = (openpty(None, None)?, openpty(None, None)?);
        for slave in [&near.slave, &far.slave] {
            let mut modes = termios::tcgetattr(slave)?;
            termios::cfmakeraw(&mut modes);
            // What opens the pty reads its speed, and keeps to it.
            termios::cfsetspeed(&mut modes, baud(quality.speed))?;
            termios::tcsetattr(slave, SetArg::TCSANOW, &modes)?;
        }
        let traffic = Arc::new(Traffic::default());
        let direction = |from: &OwnedFd, to: &OwnedFd, seed| -> io::Result<Direction> {
            Ok(Direction { from: from.try_clone()?.into(), to: to.try_clone()?.into(), quality, seed })
        };
        direction(&near.master, &far.master, 1)?.start(Arc::clone(&traffic), true);
        direction(&far.master, &near.master, 2)?.start(Arc::clone(&traffic), false);
        let names = (termios_name(&near.slave)?, termios_name(&far.slave)?);
        Ok(Self { near: names.0, far: names.1, traffic, near_master: near.master, _far_slave: far.slave })
    }

    /// Whether somebody has opened the near end: what a modem would show as carrier at the far one.
    pub fn has_carrier(&self) -> bool {
        let mut look = [PollFd::new(self.near_master.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut look, PollTimeout::ZERO);
        !look[0].revents().is_some_and(|r| r.contains(PollFlags::POLLHUP))
    }
}

/// The nearest speed above that a terminal can have.
fn baud(speed: u32) -> BaudRate {
    match speed {
        0 => BaudRate::B4000000,
        1..=1200 => BaudRate::B1200,
        1201..=2400 => BaudRate::B2400,
        2401..=4800 => BaudRate::B4800,
        4801..=9600 => BaudRate::B9600,
        9601..=19_200 => BaudRate::B19200,
        19_201..=38_400 => BaudRate::B38400,
        38_401..=57_600 => BaudRate::B57600,
        57_601..=115_200 => BaudRate::B115200,
        115_201..=230_400 => BaudRate::B230400,
        _ => BaudRate::B4000000,
    }
}

fn termios_name(slave: &OwnedFd) -> io::Result<PathBuf> {
    Ok(nix::unistd::ttyname(slave)?)
}

/// Bytes under way, with the time at which they arrive.
#[derive(Default)]
struct UnderWay {
    queue: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    more: Condvar,
}

impl Direction {
    /// Two threads: one takes bytes at the speed of the line, the other delivers them after the delay. They end
    /// with the process.
    fn start(self, traffic: Arc<Traffic>, up: bool) {
        let Self { mut from, mut to, quality, seed } = self;
        let under_way = Arc::new(UnderWay::default());
        let arriving = Arc::clone(&under_way);
        thread::spawn(move || {
            loop {
                let (at, bytes) = {
                    let mut queue = arriving.queue.lock().expect("nobody panics while it is locked");
                    loop {
                        match queue.pop_front() {
                            Some(next) => break next,
                            None => queue = arriving.more.wait(queue).expect("nobody panics while it is locked"),
                        }
                    }
                };
                thread::sleep(at.saturating_duration_since(Instant::now()));
                if to.write_all(&bytes).is_err() {
                    return;
                }
            }
        });
        thread::spawn(move || {
            let mut noise = Noise { chance: quality.noise, state: seed };
            // A fiftieth of a second at a time keeps the speed even.
            let chunk = if quality.speed == 0 { 4096 } else { (quality.speed as usize / 500).clamp(1, 4096) };
            let mut buffer = vec![0; chunk];
            let mut free = Instant::now();
            while let Ok(count) = read_some(&mut from, &mut buffer) {
                let bytes = &mut buffer[..count];
                let damaged = noise.spoil(bytes);
                traffic.damaged.fetch_add(damaged, Ordering::Relaxed);
                let carried = if up { &traffic.up } else { &traffic.down };
                carried.fetch_add(count as u64, Ordering::Relaxed);
                if quality.speed > 0 {
                    let time = Duration::from_micros(count as u64 * 10_000_000 / u64::from(quality.speed));
                    free = free.max(Instant::now()) + time;
                    thread::sleep(free.saturating_duration_since(Instant::now()));
                }
                let mut queue = under_way.queue.lock().expect("nobody panics while it is locked");
                queue.push_back((Instant::now() + quality.latency, bytes.to_vec()));
                under_way.more.notify_one();
            }
        });
    }
}

/// Waits for bytes: the master of a pty that nobody has opened says EIO instead.
fn read_some(from: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Ok(count) if count > 0 => return Ok(count),
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error),
        }
    }
}

/// Damage by a fixed seed: a demo that failed can be repeated.
struct Noise {
    chance: f64,
    state: u64,
}

impl Noise {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn spoil(&mut self, bytes: &mut [u8]) -> u64 {
        if self.chance <= 0.0 {
            return 0;
        }
        let mut damaged = 0;
        for byte in bytes {
            if (self.next() >> 11) as f64 / (1u64 << 53) as f64 > self.chance {
                continue;
            }
            *byte ^= 1 << (self.next() % 8);
            damaged += 1;
        }
        damaged
    }
}
