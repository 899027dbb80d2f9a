//! The matrix: mail, news, files and requests both ways in one call with Taylor UUCP; each protocol, either calls, over a pipe, TCP
//! with a login, and two ptys. `tests/golden/interop.txt` says what holds. `make interop-all` adds files of a million bytes and
//! every packet size with every window of g, G and v.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::process::Output;
use std::thread;

use super::line::{NullModem, inetd};
use super::ours::{Ours, assert_same, noise, until};
use super::taylor::Taylor;

/// Around every boundary of blocks and packets, and long enough that all numbers of packets go round.
const SIZES: [usize; 9] = [0, 1, 63, 64, 65, 4095, 4096, 4097, 100_000];
const SHORT: [usize; 5] = [0, 1, 64, 4097, 20_000];

/// Whether all that can be tried is wanted, and not the fixed part alone.
fn everything() -> bool {
    std::env::var("BANGPATH_INTEROP").is_ok_and(|v| v == "all")
}

pub fn our_port(kind: &str, protocol: &str) -> String {
    format!(
        "[port.out]\n{kind}\n\n[sites.hub]\ncall = [{{ port = \"out\" }}]\nprotocols = \"{protocol}\"\nlogin = \"Uvillage\"\n\
         password-file = \"password\"\nmail = {{ relay = true }}\nnews = {{ groups = \"*\" }}\n\n\
         [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n\n[news]\ncreate = \"*\"\n"
    )
}

pub fn pipe(argv: &[String]) -> String {
    format!("type = \"pipe\"\ncommand = {argv:?}")
}

/// A site of ours that gives a password where it is asked for one.
pub fn village() -> Ours {
    let ours = Ours::new("village", "");
    fs::write(ours.folder.path().join("password"), "secret\n").expect("a file");
    ours
}

pub fn complete(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("call complete"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const LETTER: &[u8] = b"From ann Mon Jan  5 10:00:00 1998 remote from hub\nSubject: test\n\nHi Alice\n";
const ARTICLE: &[u8] =
    b"Path: hub!not-for-mail\nFrom: ann@hub.example\nNewsgroups: local.test\nSubject: 1\nDate: Mon, 5 Jan 1998 10:00:00 GMT\nMessage-ID: <1@hub.example>\n\nNews\n";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Line {
    Pipe,
    Tcp,
    Pty,
}

/// One cell: who calls over what, with which files, and what each side is told beside that.
struct Case {
    letter: char,
    /// Nobody is told which protocol.
    any_protocol: bool,
    line: Line,
    we_call: bool,
    sizes: Vec<usize>,
    /// Lines of the site in our configuration and in Taylor's.
    ours: String,
    theirs: String,
    /// The line of a cell with ptys.
    modem: Option<NullModem>,
}

impl Case {
    fn new(letter: char, line: Line, we_call: bool) -> Self {
        let more: &[usize] = if everything() { &[1_000_000] } else { &[] };
        let sizes = [&SIZES[..], more].concat();
        let modem = (line == Line::Pty).then(NullModem::new);
        let theirs = format!("protocol {letter}");
        Self { letter, any_protocol: false, line, we_call, sizes, ours: String::new(), theirs, modem }
    }

    fn our_config(&self, kind: &str) -> String {
        let config = our_port(kind, &self.letter.to_string()) + &self.ours;
        if self.any_protocol { config.replace(&format!("protocols = \"{}\"\n", self.letter), "") } else { config }
    }

    /// Queues everything at both ends: files of every size, a request, mail, news.
    fn queue(&self, ours: &Ours, taylor: &Taylor) {
        fs::create_dir_all(ours.public()).expect("a folder");
        let name = |path: &Path| path.display().to_string();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for &size in &self.sizes {
            let (here, there) = (ours.folder.path().join(format!("up{size}")), taylor.path(&format!("down{size}")));
            fs::write(&here, noise(size as u64 + 1, size)).expect("a file");
            fs::write(&there, noise(size as u64 + 2, size)).expect("a file");
            up.push(name(&here));
            down.push(name(&there));
        }
        let words = |first: &[&'static str], files: &[String], last: &str| {
            first
                .iter()
                .map(|w| (*w).to_owned())
                .chain(files.iter().cloned())
                .chain([last.to_owned()])
                .collect::<Vec<_>>()
        };
        let up = words(&["uucp"], &up, "hub!~/");
        ours.run(&up.iter().map(String::as_str).collect::<Vec<_>>(), b"");
        let down = words(&[], &down, "village!~/");
        taylor.uucp(&down.iter().map(String::as_str).collect::<Vec<_>>());
        fs::write(ours.public().join("ours"), "ours\n").expect("a file");
        fs::write(taylor.path("pub/theirs"), "theirs\n").expect("a file");
        ours.run(&["uucp", "hub!~/theirs", "~/"], b"");
        taylor.uucp(&["village!~/ours", &name(&taylor.path("pub/"))]);
        ours.run(&["sendmail", "-f", "alice@village.example", "bob@hub.example"], b"Subject: up\n\nHello Bob\n");
        taylor.uux(&["-", "village!rmail", "(alice)"], LETTER);
        let batch = [format!("#! rnews {}\n", ARTICLE.len()).as_bytes(), ARTICLE].concat();
        taylor.uux(&["-", "village!rnews"], &batch);
        let article = String::from_utf8_lossy(ARTICLE).replace("hub", "elsewhere").replace("<1@", "<2@");
        ours.run(&["rnews"], article.as_bytes());
    }

    /// Everything is where it belongs, byte for byte.
    fn check(&self, ours: &Ours, taylor: &Taylor) {
        for &size in &self.sizes {
            assert_same(&taylor.path(&format!("pub/up{size}")), &noise(size as u64 + 1, size));
            assert_same(&ours.public().join(format!("down{size}")), &noise(size as u64 + 2, size));
        }
        assert_same(&ours.public().join("theirs"), b"theirs\n");
        assert_same(&taylor.path("pub/ours"), b"ours\n");
        let letter = until(
            "the letter",
            || Some(ours.try_run(&["mailbox", "show", "alice"], b"")).filter(|o| o.status.success()),
            String::new,
        );
        let letter = String::from_utf8_lossy(&letter.stdout).into_owned();
        assert!(
            letter.starts_with("Received: from hub by village.example")
                && letter.ends_with("Subject: test\n\nHi Alice\n"),
            "{letter}"
        );
        let groups = || ours.run(&["group", "list"], b"");
        until("the article", || groups().contains("local.test").then_some(()), groups);
        let mail = taylor.execute("mail.");
        assert_eq!(mail.len(), 1);
        let mail = String::from_utf8_lossy(&mail[0]).into_owned();
        assert!(
            mail.starts_with("ARGS bob@hub.example\nFrom alice@village.example ")
                && mail.contains(" remote from village\n")
                && mail.ends_with("\n\nHello Bob\n"),
            "{mail}"
        );
        let news = taylor.execute("news.");
        assert_eq!(news.len(), 1, "one batch");
        assert!(news[0].starts_with(b"#! gunbatch\n\x1f\x8b"));
        assert_eq!(ours.run(&["queue", "list", "--json"], b"").trim(), "[]", "nothing is left");
    }

    /// Runs it; `None` where Taylor UUCP is missing.
    fn run(&self) -> Option<()> {
        match (self.line, self.we_call) {
            (Line::Pipe, true) => self.we_call_over_a_pipe(),
            (Line::Pipe, false) => self.taylor_calls_over_a_pipe(),
            (Line::Tcp, true) => self.we_log_in_over_tcp(),
            (Line::Tcp, false) => self.taylor_logs_in_over_tcp(),
            (Line::Pty, _) => self.over_ptys(),
        }
    }

    fn we_call(&self, ours: &Ours, taylor: &Taylor) {
        self.queue(ours, taylor);
        complete(&ours.call("hub"));
        self.check(ours, taylor);
    }

    fn taylor_calls(&self, ours: &Ours, taylor: &Taylor) {
        self.queue(ours, taylor);
        let output = taylor.call("village");
        assert!(output.status.success(), "{}", taylor.log());
        self.check(ours, taylor);
    }

    fn we_call_over_a_pipe(&self) -> Option<()> {
        let taylor = Taylor::new("hub", "village", "type stdin", &self.theirs)?;
        let ours = village();
        ours.configure(&self.our_config(&pipe(&taylor.uucico())));
        self.we_call(&ours, &taylor);
        Some(())
    }

    fn taylor_calls_over_a_pipe(&self) -> Option<()> {
        let ours = village();
        ours.configure(&self.our_config("type = \"tcp\"\naddress = \"127.0.0.1:1\""));
        let port = format!("type pipe\ncommand {}", ours.uucico().join(" "));
        let taylor = Taylor::new("hub", "village", &port, &self.theirs)?;
        self.taylor_calls(&ours, &taylor);
        Some(())
    }

    fn we_log_in_over_tcp(&self) -> Option<()> {
        let theirs = format!("called-login Uvillage\n{}", self.theirs);
        let taylor = Taylor::new("hub", "village", "type stdin", &theirs)?;
        let (address, _) = inetd(taylor.uucico_with_login(), Vec::new());
        let ours = village();
        ours.configure(&self.our_config(&format!("type = \"tcp\"\naddress = \"{address}\"")));
        self.we_call(&ours, &taylor);
        Some(())
    }

    fn taylor_logs_in_over_tcp(&self) -> Option<()> {
        let ours = village();
        let config = self.our_config("type = \"tcp\"\naddress = \"127.0.0.1:1\"");
        ours.configure(&format!("[listen]\nuucp = \"127.0.0.1:0\"\nuucp-login = true\n\n{config}"));
        ours.run(&["user", "add", "hub", "--password-stdin"], b"hubsecret\n");
        let _daemon = ours.daemon();
        let address = ours.address("uucp ");
        let (_, port) = address.rsplit_once(':').expect("a port");
        let chat = "chat \"\" \\r\\c ogin:-\\r\\c-ogin: \\L word: \\P\ncall-login hub\ncall-password hubsecret";
        let theirs = format!("address 127.0.0.1\n{chat}\n{}", self.theirs);
        let taylor = Taylor::new("hub", "village", &format!("type tcp\nservice {port}"), &theirs)?;
        self.taylor_calls(&ours, &taylor);
        Some(())
    }

    fn over_ptys(&self) -> Option<()> {
        let modem = self.modem.as_ref()?;
        let [near, far] = modem.devices.clone().map(|d| d.display().to_string());
        let ours = village();
        // As fast as a pty is: a million bytes at 115200 would take a minute and a half.
        ours.configure(&self.our_config(&format!("type = \"serial\"\ndevice = \"{near}\"\nspeed = 4000000")));
        let port = format!("type direct\ndevice {far}\nspeed 115200\nhardflow false");
        let taylor = Taylor::new("hub", "village", &port, &self.theirs)?;
        let (words, device, calling_end) = match self.we_call {
            true => (taylor.uucico(), &far, 0),
            false => (ours.uucico(), &near, 1),
        };
        // As a getty: each time somebody is on the line it answers, until the caller has done with it.
        thread::scope(|scope| {
            let calling = scope.spawn(|| match self.we_call {
                true => self.we_call(&ours, &taylor),
                false => self.taylor_calls(&ours, &taylor),
            });
            while !calling.is_finished() {
                if modem.is_open(calling_end) {
                    let open = || fs::OpenOptions::new().read(true).write(true).open(device).expect("the pty");
                    let mut answering = std::process::Command::new(&words[0]);
                    answering.args(&words[1..]).stdin(open()).stdout(open());
                    let _ = answering.status();
                }
                thread::sleep(std::time::Duration::from_millis(10));
            }
            calling.join().expect("the cell holds");
        });
        Some(())
    }
}

/// Takes the row of this protocol out of the golden table, or puts it there.
fn compare(letter: char, row: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/interop.txt");
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&golden).expect("the golden table");
    // The rows are made by processes of their own.
    file.lock().expect("the golden table to ourselves");
    let mut table = String::new();
    file.read_to_string(&mut table).expect("the golden table");
    let is_ours = |line: &&str| line.starts_with(letter) && line[1..].starts_with("  ");
    let expected = table.lines().find(is_ours).unwrap_or_default();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let rest: Vec<&str> = table.lines().map(|line| if is_ours(&line) { row } else { line }).collect();
        file.rewind().and_then(|()| file.set_len(0)).expect("the golden table can be written");
        file.write_all((rest.join("\n") + "\n").as_bytes()).expect("the golden table can be written");
        return;
    }
    assert_eq!(row, expected, "UPDATE_EXPECT=1 rewrites the row of {}", golden.display());
}

/// The row of one protocol: all three lines at once, first we call, then Taylor.
fn check_row(letter: char) {
    let mut row = letter.to_string();
    for we_call in [true, false] {
        let cases = [Line::Pipe, Line::Tcp, Line::Pty].map(|line| Case::new(letter, line, we_call));
        let cells = thread::scope(|scope| {
            let running = cases.each_ref().map(|case| {
                let handle = scope.spawn(|| case.run());
                // On a busy machine Taylor loses ten seconds at many a turn. (docs/protocol-a.md)
                while letter == 'a' && !handle.is_finished() {
                    thread::sleep(std::time::Duration::from_millis(20));
                }
                handle
            });
            running.map(|handle| handle.join().map(|ran| ran.is_some()))
        });
        for cell in cells {
            let cell = match cell {
                Ok(true) => "ok",
                Ok(false) => return,
                Err(_) => "fails",
            };
            row += &format!("  {cell:<7}");
        }
    }
    compare(letter, row.trim_end());
}

#[test]
fn taylor_is_not_disturbed_by_the_letter_of_the_line_test() {
    for we_call in [true, false] {
        let case = Case { any_protocol: true, theirs: String::new(), ..Case::new('i', Line::Pty, we_call) };
        case.run();
    }
}

#[test]
fn everything_goes_with_t() {
    check_row('t');
}

#[test]
fn everything_goes_with_g() {
    check_row('g');
}

#[test]
fn everything_goes_with_i() {
    check_row('i');
}

#[test]
fn everything_goes_with_e() {
    check_row('e');
}

#[test]
fn everything_goes_with_y() {
    check_row('y');
}

#[test]
fn everything_goes_with_g_large() {
    check_row('G');
}

#[test]
fn everything_goes_with_v() {
    check_row('v');
}

#[test]
fn everything_goes_with_f() {
    check_row('f');
}

#[test]
fn everything_goes_with_j() {
    check_row('j');
}

#[test]
fn everything_goes_with_a() {
    check_row('a');
}

/// Packet sizes and windows: what either side asks the other for. Four pairs of them, or all.
fn check_sizes(letter: char) {
    let sizes = [32, 64, 128, 256, 512, 1024, 2048, 4096];
    let pairs: Vec<(usize, usize)> = match everything() {
        true => (0..8).flat_map(|size| (1..=7).map(move |window| (size, window))).collect(),
        // Among them a window of one, and packets of 4,096 bytes to Taylor with a window of four and more.
        false => vec![(0, 7), (2, 1), (5, 2), (7, 3)],
    };
    let mut failed = Vec::new();
    for (n, (size, window)) in pairs.into_iter().enumerate() {
        // Taylor asks for another pair, so that the two directions differ.
        let (other, their_window) = ((size + window) % 8, 1 + (window + 3) % 7);
        for we_call in [true, false] {
            if !everything() && we_call != (n % 2 == 0) {
                continue;
            }
            let case = Case {
                sizes: SHORT.to_vec(),
                ours: format!("\n[sites.hub.protocol.{letter}]\nwindow = {window}\npacket-size = {}\n", sizes[size]),
                theirs: format!(
                    "protocol {letter}\nprotocol-parameter {letter} packet-size {}\nprotocol-parameter {letter} window {their_window}",
                    sizes[other]
                ),
                ..Case::new(letter, Line::Pipe, we_call)
            };
            let (asked, theirs) = (sizes[size], sizes[other]);
            let what = format!("{asked} bytes, window {window}; Taylor {theirs}, {their_window}; we call: {we_call}");
            match thread::scope(|scope| scope.spawn(|| case.run()).join()) {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(_) => failed.push(what),
            }
        }
    }
    assert!(failed.is_empty(), "{letter} fails with\n{}", failed.join("\n"));
}

#[test]
fn packets_and_windows_of_g_are_what_each_side_asked_for() {
    check_sizes('g');
}

#[test]
fn packets_and_windows_of_g_large_are_what_each_side_asked_for() {
    check_sizes('G');
}

#[test]
fn packets_and_windows_of_v_are_what_each_side_asked_for() {
    check_sizes('v');
}
