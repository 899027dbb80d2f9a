//! A line as a program: runs another and carries standard input and output at a speed, with a delay and noise.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// `line SPEED LATENCY_MS NOISE SEED PROGRAM ARGUMENT…`
pub fn run(words: &[String]) {
    let speed: u64 = words[0].parse().expect("a speed");
    let latency = Duration::from_millis(words[1].parse().expect("milliseconds"));
    let noise: f64 = words[2].parse().expect("a chance");
    let seed: u64 = words[3].parse().expect("a seed");
    let mut child = Command::new(&words[4])
        .args(&words[5..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    carry(std::io::stdin(), input, speed, latency, noise, seed);
    let back = carry(output, std::io::stdout(), speed, latency, noise, seed + 1);
    let _ = back.join();
    let _ = child.wait();
    std::process::exit(0);
}

fn carry(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    speed: u64,
    latency: Duration,
    noise: f64,
    seed: u64,
) -> thread::JoinHandle<()> {
    let (under_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        // A hundredth of a second at a time: as little as a UART's buffer.
        let mut buffer = vec![0; (speed as usize / 1000).clamp(1, 1024)];
        let mut free = Instant::now();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
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
            free = free.max(Instant::now()) + Duration::from_nanos(count as u64 * 10_000_000_000 / speed);
            thread::sleep(free.saturating_duration_since(Instant::now()));
            if under_way.send((Instant::now() + latency, buffer[..count].to_vec())).is_err() {
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
