//! The first command of the README.

use std::process::Command;

use super::ours::{BANGPATH, run};

fn demo(words: &[&str]) -> String {
    let mut command = Command::new(BANGPATH);
    command.arg("demo").args(words);
    let output = run(command, b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "demo {words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn the_demo_delivers_everything_once_and_unchanged() {
    let text = demo(&["--speed", "0"]);
    assert!(text.contains("mail  village  world    6         0        6        6          0"), "{text}");
    assert!(text.contains("news  world    village  4         0        4        4          0"), "{text}");
}

#[test]
fn the_demo_survives_a_bad_line_with_each_protocol() {
    for protocol in ["i", "g"] {
        demo(&["--speed", "38400", "--latency", "50", "--noise", "0.0002", "--protocol", protocol]);
    }
}

#[test]
fn the_demo_takes_the_users_own_mail_and_names_what_was_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mbox = folder.path().join("mbox");
    let letter = |n: u32| {
        format!(
            "From ann Mon Jan  5 10:00:0{n} 1998\nFrom: ann@x.example\nSubject: {n}\nMessage-ID: <{n}@x>\nDate: Mon, 5 Jan 1998 10:00:00 GMT\n\nLetter {n}\n.\n\n"
        )
    };
    std::fs::write(&mbox, (0..5).map(letter).collect::<String>()).expect("a file");
    let news = folder.path().join("news");
    std::fs::create_dir(&news).expect("a folder");
    std::fs::write(news.join("1"), "Path: x!y\nFrom: a@x.example\nNewsgroups: local.demo\nSubject: no name\nDate: 5 Jan 1998 10:00:00 GMT\n\nText\n").expect("a file");
    std::fs::write(news.join("2"), "Path: x!y\nFrom: a@x.example\nNewsgroups: local.demo\nSubject: 2\nDate: 5 Jan 1998 10:00:00 GMT\nMessage-ID: <2@x>\n\nText\n").expect("a file");
    let text = demo(&["--speed", "0", "--mail", &mbox.display().to_string(), "--news", &news.display().to_string()]);
    assert!(text.contains("mail  village  world    3         0        3        3"), "{text}");
    assert!(text.contains("refused: 1: it has no Message-ID"), "{text}");
}
