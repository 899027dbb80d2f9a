//! Sockets that others open: systemd passes them to the daemon, systemd and inetd start a process for each caller.

use std::fs;
use std::process::Command;

use super::ours::{BANGPATH, Ours, until};
use super::peers;
use super::servers::{Running, free_address};

fn village(address: &str) -> Ours {
    let village = Ours::new("village", "");
    fs::write(village.folder.path().join("password"), "secret\n").expect("a file");
    village.configure(&format!(
        "[port.out]\ntype = \"tcp\"\naddress = \"{address}\"\n[sites.hub]\ncall = [{{ port = \"out\" }}]\nlogin = \"Uvillage\"\n\
         password-file = \"password\"\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n"
    ));
    village
}

fn hub(rest: &str) -> Ours {
    let hub = Ours::new("hub", &format!("{rest}\n[sites.village]\ncalled-login = \"Uvillage\"\n"));
    hub.run(&["user", "add", "Uvillage", "--password", "secret"], b"");
    hub
}

/// Listens at `address` for `hub`, as systemd does with these words, and starts `bangpath` with the others.
fn activate(hub: &Ours, address: &str, words: &[&str], of_ours: &[&str]) -> Option<(Command, std::path::PathBuf)> {
    let mut command = peers::command("usr/bin/systemd-socket-activate")?;
    command.args(["-l", address, "-E", &format!("BANGPATH_CONFIG={}", hub.config.display())]);
    command.args(words).arg(BANGPATH).args(of_ours);
    Some((command, hub.folder.path().join("log")))
}

/// Two calls with a letter each.
fn check(hub: &Ours, address: &str) {
    let village = village(address);
    for round in 1..=2 {
        village.run(&["sendmail", "alice@hub.example"], b"Subject: test\n\nby a socket of systemd\n");
        let call = village.call("hub");
        assert!(call.status.success(), "{}: {}", String::from_utf8_lossy(&call.stderr), hub.log());
        until("the letter", || hub.mail_count("alice").eq(&round).then_some(()), || hub.log());
    }
}

#[test]
fn systemd_passes_its_socket_to_the_daemon_at_the_first_caller() {
    let address = free_address();
    // Known by its port; the configured one is not opened, for it is there.
    let hub = hub(&format!("[listen]\nuucp = \"{address}\""));
    let Some((command, log)) = activate(&hub, &address, &[], &["run"]) else { return };
    let _server = Running::start(command, &address, &log);
    check(&hub, &address);
    assert!(hub.log().contains(&format!("uucp {address}")), "{}", hub.log());
}

#[test]
fn systemd_starts_a_process_for_each_caller() {
    let address = free_address();
    let hub = hub("");
    let Some((command, log)) = activate(&hub, &address, &["-a", "--inetd"], &["uucico", "-l"]) else { return };
    let _server = Running::start(command, &address, &log);
    check(&hub, &address);
}

#[test]
fn inetd_starts_a_process_for_each_caller() {
    let Some(mut command) = peers::command("usr/sbin/inetd") else { return };
    let address = free_address();
    let hub = hub("");
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).expect("the users").expect("we are one");
    let line = format!(
        "{address} stream tcp nowait {} {BANGPATH} bangpath uucico -I {} -l\n",
        user.name,
        hub.config.display()
    );
    let config = hub.folder.path().join("inetd.conf");
    fs::write(&config, line).expect("a file");
    command.arg("-i").arg(&config);
    let _server = Running::start(command, &address, &hub.folder.path().join("log"));
    check(&hub, &address);
}

#[test]
fn systemd_understands_every_line_of_our_units() {
    let Some(mut command) = peers::command("usr/bin/systemd-analyze") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display();
    command.env("SYSTEMD_UNIT_PATH", format!("{path}:{}", peers::folder().join("lib/systemd/system").display()));
    command.args(["verify", "--man=no"]);
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd");
    for unit in fs::read_dir(units).expect("a folder") {
        let unit = unit.expect("an entry");
        let text = fs::read_to_string(unit.path()).expect("a unit");
        assert!(text.contains("ExecStart=/usr/local/bin/bangpath ") || text.contains("[Socket]"), "{unit:?}");
        let copy = folder.path().join(unit.file_name());
        fs::write(&copy, text.replace("/usr/local/bin/bangpath", BANGPATH)).expect("a unit");
        command.arg(copy);
    }
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // It passes over lines that it does not know, with no more than a word.
    assert!(output.status.success() && said.is_empty(), "{said}");
}
