//! Damaged mail batches, and batches of absurd size.

use std::io::Write as _;

use super::*;

const GOOD: &str = "MAIL FROM:<ann@village.example>\nRCPT TO:<bob@hub.example>\nDATA\nSubject: good\n\nHi\n.\n";

/// Sends a batch as a site does.
fn feed(hub: &Site, command: &str, batch: &[u8]) {
    let mut peer = Peer::talking(hub);
    let size = batch.len();
    let taken = peer.give(&format!("E D.hubN1 D.hubN1 uucp -C D.0007 0666 uucp 0x{size:x} {command}"), batch);
    assert_eq!(taken.1, "CY", "{taken:?}");
    peer.bye();
}

/// Between two good letters stands this; gives why the batch is kept, if it is.
fn check(between: &str, letters: usize, why: Option<&str>) {
    let hub = hub();
    let batch = format!("HELO village\n{GOOD}{between}{GOOD}QUIT\n");
    feed(&hub, "rsmtp", batch.as_bytes());
    let shown: String = between.chars().take(200).collect();
    assert_eq!(hub.mail("bob").len(), letters, "{shown}: {:?}", hub.dead());
    assert!(hub.is_unpacked());
    let dead = hub.dead();
    assert_eq!(dead.len(), usize::from(why.is_some()), "{shown}: {dead:?}");
    if let (Some(why), Some(dead)) = (why, dead.first()) {
        assert!(dead.why.contains(why), "{shown}: {}", dead.why);
        assert_eq!(dead.size as usize, batch.len(), "bytes and all");
        // Nothing of it is taken twice when an operator tries it again.
        hub.run(&["dead", "retry", &dead.number.to_string()], b"");
        let daemon = hub.daemon(None);
        until("it is kept again", || (hub.dead().len() == 1).then_some(()));
        drop(daemon);
        assert_eq!(hub.mail("bob").len(), letters, "{shown}");
    }
}

#[test]
fn what_is_wrong_in_a_batch_is_kept_and_every_whole_letter_taken() {
    check("", 2, None);
    check("MAIL FROM:<ann@village.example>\nRCPT TO:<bob@hub.example>\n", 2, Some("a letter has no text"));
    check("DATA\nSubject: whose?\n\n.\n", 2, Some("a letter has no sender"));
    check("\0\0\0\nMAIL\0 FROM:<x>\n", 2, Some("no command"));
    check("MAIL FROM:<ann@village.example>\nRCPT TO:<bob@hub.example>\nDATA\n\n\0\0\x01\n.\n", 3, None);
    check("WHATEVER IS THIS\n", 2, Some("this is no command: WHATEVER IS THIS"));
    check(&"NOOP\n".repeat(1200), 1, Some("lines in a row lead to no letter"));
    // The dot is missing: the second letter is text of the one before it.
    check("MAIL FROM:<ann@village.example>\nRCPT TO:<bob@hub.example>\nDATA\nSubject: no dot\n\nHi\n", 2, None);
}

#[test]
fn a_batch_that_ends_too_early_gives_what_is_whole_and_the_rest_is_kept() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let noise: Vec<u8> =
        (0..30_000_u32).flat_map(|n| format!("{:x}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    gzip.write_all(GOOD.as_bytes()).expect("written");
    gzip.write_all(GOOD.trim_end_matches(".\n").as_bytes()).expect("written");
    gzip.write_all(&noise).expect("written");
    gzip.write_all(b".\n").expect("written");
    let packed = gzip.finish().expect("written");
    let plain = format!("{GOOD}{}", &GOOD[..GOOD.len() - 2]);
    let mut damaged = packed.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    for (command, batch, letters, why) in [
        ("bsmtp", plain.as_bytes(), 1, "in the middle of a letter"),
        ("rgsmtp", &packed[..packed.len() / 2], 1, "1 letter taken; "),
        ("rgsmtp", &packed[..], 2, ""),
        // Only at its end the checksum tells.
        ("rgsmtp", &damaged[..], 2, "2 letters taken; "),
        ("csmtp", b"\x1f\x9d\x90nothing compressed", 0, "cannot be read"),
        ("csmtp", b"BZh91AY&SY", 0, "packed with bzip2, which is not known here"),
        ("rzsmtp", b"#! zunbatch\n", 0, "`zunbatch` are not known"),
    ] {
        let hub = hub();
        feed(&hub, command, batch);
        let dead = hub.dead();
        assert_eq!(hub.mail("bob").len(), letters, "{command} {why}: {dead:?}");
        assert_eq!(dead.len(), usize::from(!why.is_empty()), "{command} {why}: {dead:?}");
        assert!(dead.iter().all(|dead| dead.why.contains(why) && dead.size as usize == batch.len()), "{why}: {dead:?}");
    }
}

#[test]
fn batches_of_absurd_size_take_bounded_memory() {
    let hub = hub();
    let daemon = hub.daemon(None);
    let long = "x".repeat(10 << 20);
    let many = "RCPT TO:<bob@hub.example>\n".repeat(100_000);
    let letter = |rcpt: &str, text: &str| format!("MAIL FROM:<ann@village.example>\n{rcpt}DATA\n{text}\n.\n");
    let one = "RCPT TO:<bob@hub.example>\n";
    let batch = [
        format!("NOOP {long}\n"),
        letter(one, &format!("Subject: a long line\n\n{long}")),
        letter(&many, "Subject: many\n\nHi"),
        // Told to the sender, as is a header beyond all measure.
        letter(one, &format!("Subject: a long header\nX: {long}\n\nHi")),
        GOOD.to_owned(),
    ];
    let batch = batch.concat();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(letter(one, "Subject: a bomb\n\n").trim_end_matches(".\n").as_bytes()).expect("written");
    for _ in 0..300 {
        bomb.write_all(&vec![b'\n'; 1 << 20]).expect("written");
    }
    bomb.write_all(b".\n").and_then(|()| bomb.write_all(GOOD.as_bytes())).expect("written");
    let bomb = bomb.finish().expect("written");
    assert!(bomb.len() < 1 << 20);
    feed(&hub, "rsmtp", batch.as_bytes());
    feed(&hub, "rgsmtp", &bomb);
    until("all is unpacked", || hub.is_unpacked().then_some(()));
    let mail = hub.mail("bob");
    let subjects: Vec<&str> = mail.iter().filter_map(|m| m.lines().find_map(|l| l.strip_prefix("Subject: "))).collect();
    assert_eq!(subjects, ["a long line", "many", "good", "good"], "{:?}", hub.dead());
    assert!(mail[0].contains(&long));
    assert!(hub.dead().is_empty(), "{:?}", hub.dead());
    // The village's ann hears of the 99,000, of the header and of the bomb.
    let told: Vec<String> = hub.waiting_mail().into_iter().map(|(_, text)| text).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("99000 more recipients") && told[0].contains("5.5.3"), "{}", told[0]);
    assert!(told[1].contains("Status: 5.3.4") && told[2].contains("larger than 67108864 bytes"), "{told:?}");
    let peak = super::memory::peak(daemon.id());
    assert!(peak < 64 << 20, "{peak} bytes");
}
