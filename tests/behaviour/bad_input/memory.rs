//! How much memory we take: the daemon at rest, and a call with a large file.

use super::*;

/// A field of `/proc/PID/status`, in bytes; 0 once the process has ended.
fn status(id: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_default();
    let number: String = line.chars().filter(char::is_ascii_digit).collect();
    number.parse::<u64>().unwrap_or(0) * 1024
}

/// The most memory that a process has had.
pub fn peak(id: u32) -> u64 {
    status(id, "VmHWM:")
}

#[test]
fn the_daemon_at_rest_is_small() {
    let hub = hub();
    let daemon = hub.daemon(None);
    let size = until("the daemon is in memory", || Some(status(daemon.id(), "VmRSS:")).filter(|n| *n > 0));
    eprintln!("idle daemon: {} KiB", size >> 10);
    assert!(size < 25 << 20, "{size} bytes");
}

/// Calls and gives the most memory that the caller had.
fn call(village: &Site) -> u64 {
    let mut child = Command::new(BANGPATH)
        .args(["call", "hub", "-c"])
        .arg(village.config())
        .stdout(Stdio::null())
        .spawn()
        .expect("the call starts");
    let mut most = 0;
    let status = loop {
        most = most.max(peak(child.id()));
        if let Some(status) = child.try_wait().expect("a process") {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert!(status.success(), "{status}");
    most
}

#[test]
fn a_large_file_takes_no_memory_to_send_or_receive() {
    const SIZE: usize = 100 << 20;
    let hub = hub();
    let daemon = hub.daemon(None);
    let address = daemon.address("uucp").expect("the service is on");
    let village = Site::new(
        "village",
        &format!(
            "[port.line]\ntype = \"tcp\"\naddress = \"{address}\"\n\n[sites.hub]\ncall = [{{ port = \"line\", chat = \"\" }}]\nprotocols = \"t\"\n"
        ),
    );
    let send = |name: &str, size: usize| {
        let path = village.path(name);
        std::fs::File::create(&path).and_then(|f| f.set_len(size as u64)).expect("a file");
        village.run(&["uucp", &path.display().to_string(), "hub!~/"], b"");
        let caller = call(&village);
        let received = std::fs::metadata(hub.spool().join("public").join(name)).expect("the file has come");
        assert_eq!(received.len(), size as u64);
        (caller, peak(daemon.id()))
    };
    let small = send("small", 1000);
    let large = send("large", SIZE);
    eprintln!(
        "caller {} and answerer {} KiB, for a small file {} and {} KiB",
        large.0 >> 10,
        large.1 >> 10,
        small.0 >> 10,
        small.1 >> 10
    );
    for (small, large) in [(small.0, large.0), (small.1, large.1)] {
        assert!(large < small + (20 << 20), "{large} bytes, {small} for a small file");
    }
}
