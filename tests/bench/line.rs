//! A line as a program: runs another and carries standard input and output at a speed, with a delay and noise, in both directions at
//! once or in one at a time.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

/// What the line is like.
#[derive(Debug, Clone, Copy)]
pub struct Nature {
    pub speed: u32,
    pub latency_ms: u32,
    /// Probability that a byte has a bit changed.
    pub noise: f64,
    /// Both directions share the line; one waits until the other has been silent for so long. 0: each has its own.
    pub turn_round_ms: u32,
}

impl Nature {
    /// The words before a program that put this line before it.
    pub fn words(&self, seed: usize, notes: &Notes) -> Vec<String> {
        let own = std::env::current_exe().expect("our name").display().to_string();
        let numbers = [self.speed.to_string(), self.latency_ms.to_string(), self.noise.to_string()];
        let rest = [self.turn_round_ms.to_string(), seed.to_string(), notes.0.path().display().to_string()];
        [own, "line".to_owned()].into_iter().chain(numbers).chain(rest).collect()
    }
}

/// When the line of each call fell silent: a caller may go while its last words are on their way, or stay when they have gone.
pub struct Notes(TempDir);

impl Notes {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("line-").tempdir().expect("a folder"))
    }

    /// Of the last call, once both programs have gone.
    pub fn silent_since(&self) -> SystemTime {
        let path = self.0.path().join(lines_in(self.0.path()).to_string());
        for _ in 0..600 {
            let note = fs::read_to_string(&path).unwrap_or_default();
            if let Some(Ok(micros)) = note.strip_suffix('.').map(str::parse) {
                return UNIX_EPOCH + Duration::from_micros(micros);
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("the line does not fall silent");
    }
}

fn lines_in(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Whoever hangs up is free at once, and what it has said is still on its way: another process carries it.
/// `line SPEED LATENCY_MS NOISE TURN_ROUND_MS SEED NOTES PROGRAM ARGUMENT…`
pub fn run(words: &[String]) {
    let own = std::env::current_exe().expect("our name");
    let mut carrier =
        Command::new(own).arg(CARRIER).args(words).stderr(Stdio::piped()).spawn().expect("our own program starts");
    // It closes this when the caller has hung up, and when all is over.
    let _ = carrier.stderr.take().expect("piped").read(&mut [0]);
    std::process::exit(0);
}

/// The first word of the process that carries.
pub const CARRIER: &str = "carrier";

/// The line itself.
pub fn run_carrier(words: &[String]) {
    let nature = Nature {
        speed: words[0].parse().expect("a speed"),
        latency_ms: words[1].parse().expect("milliseconds"),
        noise: words[2].parse().expect("a chance"),
        turn_round_ms: words[3].parse().expect("milliseconds"),
    };
    let seed: u64 = words[4].parse().expect("a seed");
    let folder = Path::new(&words[5]);
    let note = folder.join((lines_in(folder) + 1).to_string());
    fs::write(&note, "").expect("a note");
    let mut child = Command::new(&words[6])
        .args(&words[7..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let media = match nature.turn_round_ms {
        0 => [0, 1].map(|_| Arc::new(Medium::new())),
        _ => {
            let shared = Arc::new(Medium::new());
            [Arc::clone(&shared), shared]
        }
    };
    let [forth, back] = media.clone();
    carry(UntilHangUp(io::stdin()), input, nature, Way { number: 0, medium: forth, seed });
    let back = carry(output, io::stdout(), nature, Way { number: 1, medium: back, seed: seed + 1 });
    let _ = back.join();
    let _ = child.wait();
    let silent = media.iter().map(|medium| medium.free().elapsed()).min().unwrap_or_default();
    let since = (SystemTime::now() - silent).duration_since(UNIX_EPOCH).expect("after 1970");
    fs::write(&note, format!("{}.", since.as_micros())).expect("a note");
    std::process::exit(0);
}

/// What the caller says; its end lets the process go that the caller waits for.
struct UntilHangUp(io::Stdin);

impl Read for UntilHangUp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count == 0 {
            io::stderr().write_all(b".")?;
        }
        Ok(count)
    }
}

/// One direction.
struct Way {
    number: u8,
    medium: Arc<Medium>,
    seed: u64,
}

/// How late this program may come to a line on which bytes follow each other.
const SLACK: Duration = Duration::from_millis(20);

/// What bytes go over: who sent last, and when the last byte has gone.
struct Medium(Mutex<(u8, Instant)>);

impl Medium {
    fn new() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }

    /// When the last byte has gone.
    fn free(&self) -> Instant {
        self.0.lock().expect("nobody panics with it").1
    }

    /// Waits for this direction's turn, and then until bytes that take so long have gone.
    fn pass(&self, way: u8, line_time: Duration, turn_round: Duration) {
        loop {
            let mut medium = self.0.lock().expect("nobody panics with it");
            let now = Instant::now();
            let (last, free) = *medium;
            let begin = if last == way { free } else { free + turn_round };
            if last == way || begin <= now {
                // A little late is the doing of this program, not of the line.
                let late = now.saturating_duration_since(begin);
                let gone = if late < SLACK { begin } else { now } + line_time;
                *medium = (way, gone);
                drop(medium);
                thread::sleep(gone.saturating_duration_since(Instant::now()));
                return;
            }
            drop(medium);
            thread::sleep(begin.saturating_duration_since(now));
        }
    }
}

fn carry(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    nature: Nature,
    way: Way,
) -> thread::JoinHandle<()> {
    let Nature { speed, latency_ms, noise, turn_round_ms } = nature;
    // A piece more than the one on the line, as in the buffer of a modem: so that the end is seen while that is on its way.
    let (given, taken) = mpsc::sync_channel::<Vec<u8>>(1);
    let (under_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    let latency = Duration::from_millis(latency_ms.into());
    let turn_round = Duration::from_millis(turn_round_ms.into());
    thread::spawn(move || {
        // A hundredth of a second at a time, but as much as the buffer of a UART.
        let mut buffer = vec![0; (speed as usize / 1000).clamp(16, 1024)];
        let mut state = way.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                return;
            }
            for byte in &mut buffer[..count] {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                if ((state >> 11) as f64) < noise * (1u64 << 53) as f64 {
                    *byte ^= 1 << (state % 8);
                }
            }
            if given.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        while let Ok(piece) = taken.recv() {
            let line_time = Duration::from_nanos(piece.len() as u64 * 10_000_000_000 / u64::from(speed));
            way.medium.pass(way.number, line_time, turn_round);
            if under_way.send((Instant::now() + latency, piece)).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        while let Ok((at, bytes)) = arriving.recv() {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).and_then(|()| to.flush()).is_err() {
                return;
            }
        }
    })
}
