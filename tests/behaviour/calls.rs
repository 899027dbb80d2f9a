//! What the outside learns of calls.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use bangpath::base::names::SiteName;
use bangpath::base::time::Timestamp;
use bangpath::store::statistics::Statistics;
use bangpath::store::{LockKind, Store, StoreError};

use crate::site::{BANGPATH, Site, said, until};

/// As Taylor words it, with the sizes that both usually have.
const STARTED: &str = "Handshake successful (protocol 'i' sending packet/window 1024/16 receiving 1024/16)";

#[test]
fn each_call_is_explained_told_to_the_hook_and_noted_as_taylor_does() {
    let hub = Site::new("hub", "[sites.village]\n");
    let rest = |hub: &Site, command: &str| {
        format!(
            "[port.p]\ntype = \"pipe\"\ncommand = [{command}]\nspeed = 1000000\n[sites.hub]\ncall = [{{ port = \"p\" }}]\n\
             [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n# {}\n",
            hub.config().display()
        )
    };
    let answering = format!("\"{BANGPATH}\", \"uucico\", \"-I\", \"{}\", \"-u\", \"village\"", hub.config().display());
    hub.configure(&format!("taylor-log = \"{}\"\n[sites.village]\n", hub.path("Log").display()));
    let mut village = Site::new("village", &rest(&hub, &answering));
    // Five hours east of Greenwich.
    village.set_environment(vec![("TZ".to_owned(), "HERE-5".to_owned())]);
    let watched = format!(
        "{}taylor-log = \"{}\"\ntaylor-stats = \"{}\"\n\n",
        hook(&village),
        village.path("Log").display(),
        village.path("Stats").display()
    );
    village.configure(&(watched.clone() + &rest(&hub, &answering)));
    village.run(&["sendmail", "alice@hub.example"], b"Subject: watched\n\nHello\n");
    village.run(&["call", "hub"], b"");

    let shown = village.run(&["log"], b"");
    assert!(
        shown.contains("call complete (protocol i): sent 1 file") && shown.contains("% of 1000000 bit/s"),
        "{shown}"
    );
    let told = heard(&village);
    assert_eq!(events(&told), ["start hub out p -", "end hub out p i"]);
    assert_eq!((&told[1].1["files_sent"], &told[1].1["direction"]), (&1.into(), &"out".into()), "{told:?}");
    let log = fs::read_to_string(village.path("Log")).expect("a log");
    assert!(log.contains(") Calling system hub (port p)\n") && log.contains(") Call complete ("), "{log}");
    let users: Vec<&str> = log.lines().map(|line| line.split(' ').nth(2).expect("a user")).collect();
    assert_eq!(users, ["-", "-", "-", "uucp", "-", "-"], "{log}");
    assert!(log.lines().all(|line| line.starts_with("uucico hub ") && line.contains(" (20")), "{log}");
    let sending = log.lines().find(|line| line.starts_with("uucico hub uucp (")).expect("a line");
    assert!(sending.contains(") Sending rmail alice@hub.example (D.") && sending.ends_with(" bytes)"), "{log}");
    assert!(log.contains(&format!(") {STARTED}\n")) && log.contains(") Login successful\n"), "{log}");
    // The other side tells of the same file, and both tell it in local time.
    let answered = fs::read_to_string(hub.path("Log")).expect("a log");
    let words: Vec<&str> = answered.lines().map(|line| line.split_once(") ").expect("words").1).collect();
    assert_eq!(&words[..2], ["Incoming call (port standard input)", STARTED]);
    let bytes = sending.rsplit_once('(').expect("a size").1;
    assert_eq!(words[2], format!("Receiving rmail alice@hub.example ({bytes}"));
    assert!(answered.contains("uucico village uucp ("), "{answered}");
    let hour = |log: &str| log.split_once(":").map(|(before, _)| before[before.len() - 2..].to_owned());
    let now = jiff::Timestamp::now().as_second();
    let hours = [0, 60].map(|ago| format!("{:02}", (now - ago + 5 * 3600) / 3600 % 24));
    for log in [&log, &answered] {
        assert!(hour(log).is_some_and(|hour| hours.contains(&hour)), "{hours:?}: {log}");
    }
    let statistics = fs::read_to_string(village.path("Stats")).expect("statistics");
    let [line] = statistics.lines().collect::<Vec<_>>()[..] else { panic!("not a line a file: {statistics}") };
    assert!(line.starts_with("uucp hub (20") && line.ends_with(" bytes/sec) on port p"), "{line}");
    let size = bytes.strip_suffix(" bytes)").expect("a size");
    assert!(line.contains(&format!(") sent {size} bytes in 0.")), "{line}, {size} bytes");

    // A call that fails is told of, and a hook that fails harms nothing.
    fs::write(village.path("hook"), "#!/bin/sh\nexit 3\n").expect("a file");
    village.configure(&(watched + &rest(&hub, "\"false\"")));
    let call = village.try_run(&["call", "hub"], b"", None);
    assert_eq!(call.status.code(), Some(75), "{}", said(&call));
    let log = fs::read_to_string(village.path("Log")).expect("a log");
    assert!(
        log.lines()
            .last()
            .is_some_and(|line| line.contains("ERROR: the program of the port ended with exit status: 1")),
        "{log}"
    );
}

/// The setting for a hook that writes down what it is told, and takes its time over a beginning.
fn hook(site: &Site) -> String {
    let hook = site.path("hook");
    let script = format!(
        "#!/bin/sh\nread -r json\n[ $BANGPATH_EVENT != start ] || sleep 0.2\n\
         echo \"$BANGPATH_EVENT $BANGPATH_SITE $BANGPATH_DIRECTION $BANGPATH_PORT ${{BANGPATH_PROTOCOL:--}}\t$json\" >> {}\n",
        site.path("heard").display()
    );
    fs::write(&hook, script).expect("a file");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a mode");
    format!("call-hook = [\"{}\"]\n", hook.display())
}

/// What the hook of a site was told, in its environment and as JSON.
fn heard(site: &Site) -> Vec<(String, serde_json::Value)> {
    let text = fs::read_to_string(site.path("heard")).unwrap_or_default();
    let line = |line: &str| {
        let (words, json) = line.split_once('\t').expect("words and JSON");
        (words.to_owned(), serde_json::from_str(json).expect("JSON"))
    };
    text.lines().map(line).collect()
}

fn events(heard: &[(String, serde_json::Value)]) -> Vec<&str> {
    heard.iter().map(|(words, _)| words.as_str()).collect()
}

#[test]
fn a_hook_hears_the_beginning_of_a_call_and_its_end_or_failure_in_both_directions() {
    let hub = Site::new("hub", "");
    hub.configure(&(hook(&hub) + "[sites.village]\n"));
    let village = Site::new("village", "");
    let call = |instead: &str, expected: &[&str]| {
        let _ = fs::remove_file(village.path("heard"));
        village.configure(&(hook(&village) + &self::village(&hub)(instead)));
        let status = village.try_run(&["call", "hub"], b"", None).status;
        let told = heard(&village);
        assert_eq!(events(&told), expected, "{told:?}");
        assert_eq!(status.success(), expected.iter().any(|event| event.starts_with("end")));
        told.last().expect("the end").1.clone()
    };
    call("", &["start hub out p -", "end hub out p i"]);
    let end = call("\"/nonexistent\"", &["start hub out p -", "failure hub out p -"]);
    assert_eq!(end["result"], "cannot run /nonexistent: No such file or directory (os error 2)");
    let end = call("\"false\"", &["start hub out p -", "failure hub out p -"]);
    assert_eq!((&end["event"], &end["direction"]), (&"failure".into(), &"out".into()), "{end}");

    let answer = |input: &[u8], expected: &[&str]| {
        let _ = fs::remove_file(hub.path("heard"));
        hub.try_run(&["uucico", "-I", &hub.config().display().to_string(), "-u", "village"], input, None);
        let told = heard(&hub);
        assert_eq!(events(&told), expected, "{told:?}");
        told
    };
    // The call of the village from above.
    assert_eq!(events(&heard(&hub)), ["start village in standard input i", "end village in standard input i"]);
    let failed = ["start village in standard input i", "failure village in standard input i"];
    let told = answer(b"\x10Svillage -R -N047\0\x10Ui\0", &failed);
    assert_eq!((&told[0].1["event"], &told[1].1["event"]), (&"start".into(), &"failure".into()));
    assert!(told[1].1["result"].as_str().is_some_and(|words| words.starts_with("the line was lost")), "{told:?}");
    // Of whoever comes to no agreement nothing is told.
    answer(b"\x10Svillage -R -N047\0", &[]);
    answer(b"\x10Svillage -R -N047\0\x10UN\0", &[]);
    answer(b"\x10Sstranger -R -N047\0\x10Ui\0", &[]);
}

#[test]
fn a_call_that_is_going_on_is_told_of_on_both_sides_and_no_longer() {
    let hub = Site::new("hub", "[sites.village]\n");
    let village = Site::new("village", "");
    village.configure(&self::village(&hub)("").replace("1000000", "2400"));
    let letter = format!("Subject: long\n\n{}", "It goes on and on.\n".repeat(5000));
    village.run(&["sendmail", "alice@hub.example"], letter.as_bytes());
    let start = |words: &[&str], output: &str| {
        let output = fs::File::create(village.path(output)).expect("a file");
        let mut command = Command::new(BANGPATH);
        command.args(words).env("BANGPATH_CONFIG", village.config());
        Process(command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn().expect("it starts"))
    };
    let _log = start(&["log", "-f"], "log");
    let json = |site: &Site, words: &[&str]| -> serde_json::Value {
        serde_json::from_str(&site.run(&[words, &["--json"]].concat(), b"")).expect("JSON")
    };
    let shown = |site: &Site, other: &str| json(site, &["site", "show", other])["call"].clone();
    assert!(shown(&village, "hub").is_null());
    let mut call = start(&["call", "hub"], "call");
    let far = |site: &Site, other: &str, count: &str| {
        until("it is told how far the call is", || {
            Some(shown(site, other)).filter(|call| call[count].as_u64() > Some(0))
        })
    };
    let (out, answered) = (far(&village, "hub", "bytes_sent"), far(&hub, "village", "bytes_received"));
    assert_eq!((&out["direction"], &out["port"], &out["protocol"]), (&"out".into(), &"p".into(), &"i".into()));
    assert_eq!((&answered["direction"], &answered["protocol"]), (&"in".into(), &"i".into()), "{answered}");
    assert_eq!((&out["files_sent"], &answered["files_received"]), (&0.into(), &0.into()));
    let words = village.run(&["site", "show", "hub"], b"");
    assert!(words.contains("\nunder way     we call over p since 20"), "{words}");
    assert!(words.contains("Z, protocol i\nso far        sent 0 files, "), "{words}");
    let words = hub.run(&["site", "show", "village"], b"");
    assert!(words.contains("\nunder way     it calls from standard input since 20"), "{words}");
    assert!(village.run(&["site", "list"], b"").contains("in a call: sent 0 files, "));
    assert_eq!(json(&hub, &["site", "list"])[0]["call"]["direction"], "in");
    // Who follows the log has been told, too, on both sides.
    let log = until("the log tells of it", || {
        let log = fs::read_to_string(village.path("log")).expect("a log");
        log.ends_with(" began call hub we call over p\n").then_some(log)
    });
    assert!(!log.contains(" called "), "{log}");
    let log = hub.run(&["log"], b"");
    assert!(log.ends_with(" began call village it calls from standard input (protocol i)\n"), "{log}");
    assert!(call.0.try_wait().expect("a process").is_none(), "the call was too quick");

    // What is killed is told of no longer, nor is what has come to its end.
    call.0.kill().expect("it runs");
    until("the call ends", || call.0.try_wait().expect("a process"));
    assert!(shown(&village, "hub").is_null());
    until("the other side notices", || shown(&hub, "village").is_null().then_some(()));
    // What the dead one had noted is not taken for the word of the next.
    let lock = village.store().lock(LockKind::Site, "hub").expect("lockable").expect("free");
    let during = json(&village, &["site", "show", "hub"]);
    assert_eq!((&during["in_call"], &during["call"]), (&true.into(), &serde_json::Value::Null), "{during}");
    drop(lock);
    village.configure(&self::village(&hub)(""));
    village.run(&["call", "hub"], b"");
    assert!(!village.run(&["site", "show", "hub"], b"").contains("under way"));
    until("the log tells of the end", || {
        let log = fs::read_to_string(village.path("log")).expect("a log");
        (log.matches(" began call hub ").count() == 2 && log.contains(" called call hub ")).then_some(())
    });
}

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The hub as a program that answers, at the village's end of a pipe of known speed.
fn village(hub: &Site) -> impl Fn(&str) -> String {
    let answering = format!("\"{BANGPATH}\", \"uucico\", \"-I\", \"{}\", \"-u\", \"village\"", hub.config().display());
    move |instead: &str| {
        let command = if instead.is_empty() { &answering } else { instead };
        format!(
            "[port.p]\ntype = \"pipe\"\ncommand = [{command}]\nspeed = 1000000\n[sites.hub]\ncall = [{{ port = \"p\" }}]\n\
             [sites.far]\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n"
        )
    }
}

#[test]
fn every_call_is_counted_on_both_sides_by_what_became_of_it() {
    let hub = Site::new("hub", "[sites.village]\n");
    let rest = village(&hub);
    let village = Site::new("village", &rest(""));
    village.run(&["sendmail", "alice@hub.example"], b"Subject: counted\n\nHello\n");
    village.run(&["call", "hub"], b"");
    for instead in ["\"/nonexistent\"", "\"true\"", "\"printf\", \"\\\\020Shere=other\\\\n\""] {
        village.configure(&rest(instead));
        assert_eq!(village.try_run(&["call", "hub"], b"", None).status.code(), Some(75));
    }
    let json = |site: &Site, words: &[&str]| -> serde_json::Value {
        serde_json::from_str(&site.run(&[&["site", "statistics", "--json"], words].concat(), b"")).expect("JSON")
    };
    let counts = &json(&village, &["hub"])[0];
    let shown = counts.to_string();
    assert_eq!(
        (&counts["placed"], &counts["answered"], &counts["failed"]),
        (&4.into(), &0.into(), &3.into()),
        "{shown}"
    );
    let failures = &counts["failures"];
    let kinds = ["not_reached", "line_lost", "not_agreed"].map(|kind| failures[kind].as_u64());
    assert_eq!(kinds, [Some(1); 3], "{shown}");
    assert_eq!((&counts["files_sent"], &counts["files_received"]), (&1.into(), &0.into()), "{shown}");
    assert!(counts["line_share"].as_f64().is_some_and(|share| share > 0.0 && share <= 1.0), "{shown}");
    assert!(counts["connected_seconds"].as_f64() > Some(0.0) && counts["last_success"].is_string(), "{shown}");
    let answered = &json(&hub, &[])[0];
    assert_eq!((&answered["answered"], &answered["files_received"]), (&1.into(), &1.into()), "{answered}");
    assert_eq!(answered["bytes_received"], counts["bytes_sent"]);

    let shown = village.run(&["site", "show", "hub"], b"");
    let calls = "calls         4 placed, 0 answered; failed: 1 not reached, 1 not agreed, 1 line lost; since 20";
    assert!(shown.contains(calls) && shown.contains("sent          1 file, "), "{shown}");
    // A site that was never called has nothing to show.
    assert!(!village.run(&["site", "show", "far"], b"").contains("placed"));
    assert_eq!(village.try_run(&["site", "statistics", "nowhere"], b"", None).status.code(), Some(69));
}

#[test]
fn why_a_call_could_not_even_begin_is_told_with_its_cause() {
    let hub = Site::new("hub", "[sites.village]\n");
    let village = Site::new("village", &village(&hub)("\"/nonexistent\""));
    assert_eq!(village.try_run(&["call", "hub"], b"", None).status.code(), Some(75));
    let shown = village.run(&["site", "show", "hub"], b"");
    assert!(shown.contains("over p: cannot run /nonexistent: No such file or directory"), "{shown}");
}

#[test]
fn a_table_of_statistics_has_room_in_a_terminal_and_begins_when_it_is_told() {
    let village = Site::new("village", "[sites.hub]\n[sites.far]\n");
    let (hub, now) = (SiteName::parse("hub").expect("a name"), jiff::Timestamp::now());
    let much = Statistics {
        placed: 12_345,
        answered: 12_345,
        line_lost: 1234,
        bytes_sent: 999_900_000,
        bytes_received: 999_900_000_000,
        connected_ms: 99 * 86_400_000,
        timed_ms: 1000,
        needed_ms: 970,
        packets: 1000,
        packets_again: 3,
        ..Statistics::default()
    };
    let count = |days: i64, counts: &Statistics| {
        let at = Timestamp::from_seconds(now.as_second() - days * 86_400);
        let store = Store::open(&village.spool()).expect("a store");
        store.write::<_, StoreError>(|change| change.count_call(&hub, at, counts)).expect("counted");
    };
    count(3, &much);
    count(0, &Statistics { placed: 1, ..Statistics::default() });
    let expected = "SITE  PLACED  ANSWERED  FAILED  SENT      RECEIVED  TIME    LINE  AGAIN\n\
                    far   0       0         0       0 B       0 B       0.0s    -     -\n\
                    hub   12346   12345     1234    999.9 MB  999.9 GB  99d 0h  97%   0.3%\n";
    let shown = village.run(&["site", "statistics"], b"");
    assert_eq!(shown, expected);
    assert!(shown.lines().all(|line| line.len() <= 80));
    assert!(village.run(&["site", "statistics", "hub", "--since", "1d"], b"").contains("\nhub   1       0 "));
    assert_eq!(village.try_run(&["site", "statistics", "--since", "long"], b"", None).status.code(), Some(64));
}

#[test]
fn the_first_day_of_statistics_is_whole_whatever_the_clock_said_then() {
    let hub = SiteName::parse("hub").expect("a name");
    let check = |seconds: i64, day: &str| {
        let village = Site::new("village", "[sites.hub]\n");
        let at = Timestamp::from_seconds(seconds);
        let one = Statistics { placed: 1, ..Statistics::default() };
        village.store().write::<_, StoreError>(|change| change.count_call(&hub, at, &one)).expect("counted");
        let json = village.run(&["site", "statistics", "--json"], b"");
        assert!(json.contains(&format!("\"since\": \"{day}\"")), "{day}: {json}");
        let shown = village.run(&["site", "show", "hub"], b"");
        assert!(shown.contains(&format!("; since {day}\n")), "{day}: {shown}");
    };
    check(-70_000_000_000, "-249-10-15");
    check(i64::MIN, "-9999-01-02");
    check(-1, "1969-12-31");
    check(1_800_000_000, "2027-01-15");
    check(i64::MAX, "9999-12-30");
}

/// Logs in with its first two arguments, and says what it was told.
const LOGIN_PROGRAM: &str = "#!/bin/sh
hear() {
    heard=
    while case \"$heard\" in *$1) false;; esac; do heard=$heard$(dd bs=1 count=1 2>/dev/null); done
}
hear ogin:; printf '%s\\r' \"$1\"
hear word:; printf '%s\\r' \"$2\"
echo \"to $3 at $4 bit/s as $1 with $2\" >&2
exit $5
";

#[test]
fn a_program_logs_in_and_its_failure_is_that_of_the_call() {
    let hub = Site::new("hub", "[listen]\nuucp = \"127.0.0.1:0\"\n[sites.village]\ncalled-login = \"Uvillage\"\n");
    hub.run(&["user", "add", "Uvillage", "--password", "secret"], b"");
    let daemon = hub.daemon(None);
    let address = daemon.address("uucp ").expect("it listens");
    let check = |status: u8, chat: &str, expected: &str| {
        let village = Site::new("village", "");
        let program = village.path("login");
        fs::write(&program, LOGIN_PROGRAM).expect("a file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::write(village.path("pass"), "secret\n").expect("a file");
        let words = format!("['{}', '\\L', '\\P', '\\Z', '\\S', '{status}']", program.display());
        village.configure(&format!(
            "[port.p]\ntype = \"tcp\"\naddress = \"{address}\"\nspeed = 1000000\nchat-program = {words}\n{chat}\n[sites.hub]\ncall = [{{ port = \"p\" }}]\nlogin = \"Uvillage\"\n\
             password-file = \"pass\"\n"
        ));
        let call = said(&village.try_run(&["-v", "call", "hub"], b"", None));
        assert!(call.contains(expected), "{expected}: {call}");
        assert!(!call.contains("secret"), "{call}");
        assert!(call.contains("to hub at 1000000 bit/s as Uvillage with ***"), "{call}");
        let statistics = village.run(&["site", "statistics", "hub", "--json"], b"");
        assert_eq!(statistics.contains("\"not_logged_in\": 1"), expected != "call complete", "{statistics}");
    };
    check(0, "", "call complete");
    check(3, "", "login ended with exit status: 3");
    // It is before the chat, which waits for a word that does not come any more.
    check(0, "chat = 'word:\\W1 \\P'", "login failed: `word:` did not come within 1 s");
}

/// What a `uucico` that answers with these options says of its line.
fn line_told(site: &Site, options: &[&str]) -> String {
    let config = site.config().display().to_string();
    let words = [&["-vv", "uucico", "-I", &config], options].concat();
    said(&site.try_run(&words, b"\x10Svillage -R -N047\0\x10UN\0", None))
}

#[test]
fn who_answers_is_told_by_the_port_that_the_line_is_half_duplex() {
    let site = Site::new(
        "hub",
        "[port.radio]\ntype = \"pipe\"\ncommand = [\"true\"]\nhalf-duplex = true\n[port.answers]\ntype = \"serial\"\ndevice = \"/dev/ttyS0\"\nanswer = true\nhalf-duplex = true\n\
         [port.eats]\ntype = \"pipe\"\ncommand = [\"true\"]\ntransparent = false\n[sites.village]\ncall = [{ port = \"radio\" }]\n",
    );
    let told = line_told(&site, &["-u", "village"]);
    assert!(told.contains("link=") && !told.contains("half duplex"), "{told}");
    for port in ["radio", "answers"] {
        let told = line_told(&site, &["-u", "village", "-p", port]);
        assert!(told.contains(", half duplex"), "{port}: {told}");
    }
    let told = line_told(&site, &["-u", "village", "-p", "eats"]);
    assert!(told.contains("Pjf"), "what is no serial line may eat characters, too: {told}");
    let told = line_told(&site, &["-u", "village", "-p", "nowhere"]);
    assert!(!told.contains("link="), "a port that no site has is a mistake: {told}");
}

/// A call by hand in which the hub has three files for us, and to which this is said while the first comes: how many have
/// come when it is over.
fn files_of_a_call_that_is_hung_up(option: Option<&str>) -> usize {
    let hub = Site::new("hub", "[port.line]\ntype = \"pipe\"\ncommand = [\"true\"]\nspeed = 200000\n[sites.village]\n");
    let rest = village(&hub)("").replace("\"-u\"", "\"-p\", \"line\", \"-u\"");
    let village = Site::new("village", &rest.replace("[sites.hub]", "[sites.hub]\nprotocols = \"g\""));
    for name in ["a", "b", "c"] {
        let path = hub.path(name);
        fs::write(&path, [b'x'; 40_000]).expect("a file");
        hub.run(&["uucp", &path.display().to_string(), "village!~/"], b"");
    }
    let mut calling = Command::new(BANGPATH);
    calling.args(["call", "hub"]).env("BANGPATH_CONFIG", village.config()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut calling = calling.spawn().expect("it starts");
    let words: Vec<&str> = ["site", "hang-up", "hub"].into_iter().chain(option).collect();
    until("the call", || village.try_run(&words, b"", None).status.success().then_some(()));
    let complete = calling.wait().expect("it ends").success();
    assert_eq!(complete, option != Some("--now"), "{option:?}");
    let came = ["a", "b", "c"].iter().filter(|name| village.spool().join("public").join(name).exists()).count();
    // What was put off waits.
    let waiting: serde_json::Value = serde_json::from_str(&hub.run(&["queue", "list", "--json"], b"")).expect("JSON");
    assert_eq!(waiting.as_array().map(Vec::len), Some(3 - came), "{option:?}: {waiting}");
    came
}

#[test]
fn a_call_by_hand_is_hung_up_in_each_way_too() {
    let [now, orderly, drain] = [Some("--now"), None, Some("--drain")].map(files_of_a_call_that_is_hung_up);
    assert_eq!((now, drain), (0, 3));
    assert!((1..3).contains(&orderly), "{orderly} files, though only the one under way was to be finished");
}

#[test]
fn uucico_asks_for_a_login_however_that_is_written() {
    let hub = Site::new("hub", "[sites.village]\n");
    for (option, first) in
        [("-Dq", "\u{10}Shere=hub\0"), ("-l", "login: "), ("-e", "login: "), ("-ql", "login: "), ("-qlx9", "login: ")]
    {
        let mut answering = Command::new(BANGPATH);
        answering.args(["uucico", option]).env("BANGPATH_CONFIG", hub.config());
        answering.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut answering = answering.spawn().expect("it starts");
        let mut said = vec![0; first.len()];
        answering.stdout.take().expect("piped").read_exact(&mut said).expect("it speaks first");
        let said = String::from_utf8_lossy(&said).replace(['\r', '\n'], "");
        assert!(!said.is_empty() && first.starts_with(&said), "{option}: {said}");
        drop(answering.stdin.take());
        answering.wait().expect("it ends");
    }
}

#[test]
fn uucico_minds_the_windows_and_the_work_where_it_is_told_to() {
    let hub = Site::new("hub", "[sites.village]\n");
    let rest = village(&hub)("");
    let village = Site::new("village", &rest.replace("[sites.hub]", "[sites.hub]\nschedule = [{ when = \"Never\" }]"));
    let check = |words: &[&str], status: i32, expected: &str| {
        let output = village.try_run(&[&["uucico"], words].concat(), b"", None);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{words:?}: {}", said(&output));
    };
    let calls = || village.run(&["site", "statistics", "--json"], b"").matches("\"placed\": 1").count();
    check(&["-CqShub"], 0, "nothing waits for hub");
    check(&["-s", "hub"], 75, "the schedule lets nobody call hub now; -S calls it");
    check(&["-qsfar"], 69, "no way to call far");
    assert_eq!(calls(), 0);
    village.run(&["sendmail", "alice@hub.example"], b"Subject: work\n\nHello\n");
    check(&["-D", "-CShub"], 0, "");
    assert_eq!((calls(), hub.mail("alice").len()), (1, 1));
    check(&["-Sq"], 69, "no site `q`");
    check(&["-S"], 64, "`-S` needs a value");
    check(&["-qW"], 64, "no option `-W` is known");
}

#[test]
fn a_program_that_reaches_nobody_gives_place_to_the_next_way_and_tells_its_status() {
    let hub = Site::new("hub", "[sites.village]\n");
    let good = village(&hub)("");
    let bad = "[port.bad]\ntype = \"pipe\"\ncommand = [\"sh\", \"-c\", \"exit 255\"]\n";
    let both = format!("{bad}{}", good.replace("call = [", "call = [{ port = \"bad\" }, "));
    let village = Site::new("village", &both);
    village.run(&["call", "hub"], b"");
    let shown = village.run(&["site", "show", "hub"], b"");
    let told = "over bad: the program of the port ended with exit status: 255 before the site had said a word; over p: call complete";
    assert!(shown.contains(told), "{shown}");
}
