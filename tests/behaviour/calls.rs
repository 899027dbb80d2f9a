//! What the outside learns of calls.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use bangpath::base::names::SiteName;
use bangpath::base::time::Timestamp;
use bangpath::store::statistics::Statistics;
use bangpath::store::{Store, StoreError};

use crate::site::{BANGPATH, Site, said, until};

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
    let village = Site::new("village", &rest(&hub, &answering));
    let (hook, heard) = (village.path("hook"), village.path("heard"));
    let script = format!(
        "#!/bin/sh\nread -r json\necho \"$BANGPATH_EVENT $BANGPATH_SITE $BANGPATH_PORT $BANGPATH_PROTOCOL $json\" >> {}\n",
        heard.display()
    );
    fs::write(&hook, script).expect("a file");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a mode");
    let watched = format!(
        "call-hook = [\"{}\"]\ntaylor-log = \"{}\"\ntaylor-stats = \"{}\"\n\n",
        hook.display(),
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
    let heard_now = fs::read_to_string(&heard).expect("the hook ran");
    let lines: Vec<&str> = heard_now.lines().collect();
    assert!(lines[0].starts_with("start hub p  {") && lines[1].starts_with("end hub p i {"), "{heard_now}");
    assert!(lines[1].contains("\"files_sent\":1") && lines[1].contains("\"direction\":\"out\""), "{heard_now}");
    let log = fs::read_to_string(village.path("Log")).expect("a log");
    assert!(log.contains(") Calling system hub (port p)\n") && log.contains(") Call complete ("), "{log}");
    assert!(log.lines().all(|line| line.starts_with("uucico hub - (20")), "{log}");
    let statistics = fs::read_to_string(village.path("Stats")).expect("statistics");
    assert!(statistics.starts_with("uucp hub (20") && statistics.contains(") sent "), "{statistics}");

    // A call that fails is told of, and a hook that fails harms nothing.
    fs::write(&hook, "#!/bin/sh\nexit 3\n").expect("a file");
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
    check(&["-qW"], 64, "no option `-W`");
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
