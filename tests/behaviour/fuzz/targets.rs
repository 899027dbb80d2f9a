//! What is done with bytes of any kind. Each ends without a panic, whatever it is given; those who call it count what it holds.
//! Also built into the fuzz targets below tests/fuzz, so it uses nothing but the program.

use std::io::{Read, Write};
use std::time::Duration;

use bangpath::base::address::Address;
use bangpath::base::limits::{RECIPIENTS_MAX, TRANSMIT_MAX};
use bangpath::base::time::Now;
use bangpath::dialogue::Facts;
use bangpath::proto::{Channel, Event, PROTOCOLS, Protocol, Settings, Start, Way};
use bangpath::wire::batch;
use bangpath::wire::line_test::FrameReader;
use bangpath::wire::packet::{
    Control, Front, G_FIELD_MAX, I_DATA_MAX, IKind, IPacket, i_crc, parse_g, parse_i, stream_sum, write_g_control,
    write_g_data, write_i,
};
use bangpath::wire::packing::Packing;
use bangpath::wire::patch::{mend, patch, sums};
use bangpath::wire::uucp::{CallerLine, ExecutionFile, Features, HandshakeReader, Welcome, parse_line};
use bangpath::wire::{bsmtp, compress, packet};

/// Bytes taken from the front of what is given; zeros when there are none left.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// The packets at the front of some bytes, and what is written of what was read.
pub fn packets(bytes: &[u8]) {
    let mut source = Source(bytes);
    let largest = usize::from(source.byte()) << 5;
    let mut rest = source.0;
    while let Some(next) = rest.get(1..) {
        rest = match parse_g(rest, largest.min(G_FIELD_MAX)) {
            Front::Packet(_, length) | Front::Damaged(_, length) => {
                assert!((packet::HEADER..=packet::HEADER + G_FIELD_MAX).contains(&length) && length <= rest.len());
                &rest[length..]
            }
            Front::Incomplete | Front::Nothing => next,
        };
    }
    let mut rest = source.0;
    while let Some(next) = rest.get(1..) {
        rest = match parse_i(rest, largest.min(I_DATA_MAX)) {
            Front::Packet(packet, length) => {
                let mut again = Vec::new();
                write_i(&packet, &mut again);
                // The two kinds that do not exist are one to us.
                assert_eq!(again, rest[..length], "what was read is written alike");
                &rest[length..]
            }
            Front::Damaged(_, length) => {
                assert!(length <= rest.len());
                &rest[length..]
            }
            Front::Incomplete | Front::Nothing => next,
        };
    }
    let (front, back) = source.0.split_at(source.0.len() / 2);
    assert_eq!(stream_sum(stream_sum(0xffff, front), back), stream_sum(0xffff, source.0));
    let good = &front[..front.len().min(I_DATA_MAX)];
    let damaged = &back[..good.len()];
    if let Some(pieces) = patch(good, &sums(damaged)) {
        let mended = mend(damaged.to_vec(), &pieces);
        assert!(mended.is_none_or(|mended| i_crc(&mended) == i_crc(good)), "what was mended is what was sent");
    }
    if let Some(mended) = mend(front.to_vec(), back) {
        assert_eq!(mended.len(), front.len());
    }
}

/// Handshake messages, frames of the line test, command lines, replies, execution files.
pub fn words(bytes: &[u8]) {
    let mut reader = HandshakeReader::default();
    for byte in bytes {
        if let Some(message) = reader.push(*byte) {
            let _ = Welcome::parse(&message);
        }
    }
    let mut frames = FrameReader::default();
    for byte in bytes {
        if let Some((frame, _before)) = frames.push(*byte) {
            let printed = frame.print();
            let again = printed.iter().find_map(|byte| frames.push(*byte));
            assert!(again.is_some_and(|(again, _)| again == frame), "what was found is printed alike: {frame:?}");
        }
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = Welcome::parse(&text);
    if let Ok(line) = CallerLine::parse(&text) {
        let _ = line.welcome();
        let _ = CallerLine::parse(&line.print());
    }
    for features in [0, 0o1, 0o7, 0o11, 0o23, 0o47].map(Features) {
        for line in bytes.split(|byte| *byte == 0) {
            match parse_line(line, features) {
                Ok(bangpath::wire::uucp::Line::Command(command)) => {
                    if let Ok(said) = command.print(features) {
                        let again = parse_line(said.as_bytes(), features);
                        assert!(again.is_ok(), "{line:?} is said as {said:?}, which nobody understands");
                    }
                }
                Ok(bangpath::wire::uucp::Line::Reply(reply)) => {
                    let said = reply.print();
                    let again = parse_line(said.as_bytes(), features);
                    assert!(again.is_ok(), "{line:?} is said as {said:?}, which nobody understands");
                }
                Err(_) => {}
            }
        }
    }
    if let Ok(file) = ExecutionFile::parse(bytes) {
        let again = ExecutionFile::parse(file.print().as_bytes());
        assert!(again.is_ok_and(|again| again.command == file.command));
    }
}

/// Gives bytes in pieces, as pipes do.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = out.len().min(self.0.len()).min(self.1);
        out[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

/// The same as mail: what can be read of it as it is, and each piece as the text of a letter that was written.
fn mail(bytes: &[u8], given: &[u8], piece: usize) {
    for given in [given, bytes] {
        let Ok(mut reader) = bsmtp::Reader::new(Pieces(given, piece)) else { continue };
        while let Ok(Some(letter)) = reader.next_letter() {
            assert!(letter.recipients.len() + letter.refused.len() <= RECIPIENTS_MAX);
            let _ = std::io::copy(&mut reader.text(), &mut std::io::sink());
        }
        let _ = reader.flaws();
    }
    let to = [Address::Local("bob".to_owned())];
    let packing = [Packing::Plain, Packing::Gzip, Packing::Compress][piece % 3];
    let mut batch = bsmtp::Writer::new(Vec::new(), packing, "x").expect("written to memory");
    for text in bytes.split(|byte| *byte == 0) {
        let written = batch.begin(None, &to).and_then(|()| batch.write_all(text)).and_then(|()| batch.end());
        written.expect("written to memory");
    }
    let batch = batch.finish().expect("written to memory");
    let mut reader = bsmtp::Reader::new(Pieces(&batch, piece)).expect("what was written is read");
    for text in bytes.split(|byte| *byte == 0) {
        let letter = reader.next_letter().expect("readable").expect("a letter");
        assert_eq!((letter.sender, &letter.recipients[..]), (Ok(None), &to[..]));
        let mut read = Vec::new();
        reader.text().read_to_end(&mut read).expect("the whole text");
        // Line ends are made alike, and the last line gets one.
        let plain = |bytes: &[u8]| bytes.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect::<Vec<u8>>();
        assert!(plain(&read) == plain(text) && !read.contains(&b'\r'), "{text:?} became {read:?}");
    }
    assert!(reader.next_letter().expect("readable").is_none() && reader.flaws().is_none());
}

/// News batches and their compressed forms, and mail.
pub fn batches(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (form, piece) = (source.byte(), 1 + usize::from(source.byte()));
    let bytes = source.0;
    let given: Vec<u8> = match form % 4 {
        // As it is; behind a header; and really packed, with damage in it.
        0 => bytes.to_vec(),
        1 => [b"#! cunbatch\n\x1f\x9d\x90", bytes].concat(),
        2 => [b"#! gunbatch\n\x1f\x8b\x08\0\0\0\0\0\0\x03", bytes].concat(),
        _ => {
            let (damage, articles) = bytes.split_at(bytes.len().min(4));
            let mut batch = Vec::new();
            for article in articles.split(|byte| *byte == 0) {
                batch::append(&mut batch, article);
            }
            let packing = [Packing::Plain, Packing::Gzip, Packing::Compress][usize::from(form / 4 % 3)];
            let mut packed = batch::pack(batch, packing);
            if let [high, low, change, ..] = *damage {
                let at = usize::from(u16::from_be_bytes([high, low])) % packed.len().max(1);
                if let Some(byte) = packed.get_mut(at) {
                    *byte ^= change;
                }
            }
            packed
        }
    };
    mail(bytes, &given, piece);
    if let Ok(mut reader) = batch::Reader::new(Pieces(&given, piece)) {
        // A thing found takes a byte of what was unpacked at least, and an article its header line.
        while let Ok(Some(_)) = reader.next_found() {}
    }
    let packed = compress::compress(bytes);
    let mut unpacked = Vec::new();
    let read = compress::Decoder::new(Pieces(&packed, piece)).and_then(|mut d| d.read_to_end(&mut unpacked));
    assert!(read.is_ok() && unpacked == bytes, "what was packed unpacks");
}

/// The owner of a protocol, as the session is one: one file at a time, and nothing that nobody asked for.
struct Owner {
    protocol: Box<dyn Protocol>,
    now: Now,
    started: bool,
    over: bool,
    /// Bytes of our file that have gone, and how many there are.
    sending: Option<(u64, u64)>,
    receiving: bool,
}

/// Events for one portion of input: each takes a byte of it at least, but for some of the protocol's own.
const EVENTS_SPARE: usize = 64;
/// What a protocol gives at once beyond the limit: the packet that crossed it, and control packets.
const TRANSMIT_SPARE: usize = 3 * G_FIELD_MAX;

impl Owner {
    fn drain(&mut self, input: usize) {
        let mut count = 0;
        while let Some(event) = self.protocol.poll_event() {
            count += 1;
            assert!(count <= input + EVENTS_SPARE, "{count} events from {input} bytes");
            match event {
                Event::Started => self.started = true,
                Event::Command { channel, text } => {
                    // `SY` and the like are the start of a file for nobody.
                    if text.starts_with(b"S ") && self.sending.is_none() && !self.receiving {
                        self.receiving = true;
                        self.protocol.begin_file(channel, Way::In);
                        self.protocol.send_command(channel, b"SY");
                    }
                }
                Event::EndOfFile { channel } => {
                    self.receiving = false;
                    self.protocol.send_command(channel, b"CY");
                }
                Event::Data { .. } => {}
                Event::Again { .. } => {
                    if let Some((sent, _)) = &mut self.sending {
                        *sent = 0;
                    }
                }
                Event::Closed | Event::Failed(_) => self.over = true,
            }
        }
        if self.over {
            self.protocol.unread();
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.protocol.handle_input(self.now, bytes);
        self.drain(bytes.len());
        self.speak();
    }

    fn speak(&mut self) {
        for _ in 0..4 {
            self.send();
            let mut out = Vec::new();
            self.protocol.poll_transmit(self.now, &mut out);
            assert!(out.len() <= TRANSMIT_MAX + TRANSMIT_SPARE, "{} bytes at once", out.len());
            self.drain(0);
            if out.is_empty() {
                return;
            }
        }
    }

    fn send(&mut self) {
        let Some((sent, size)) = &mut self.sending else { return };
        let room = self.protocol.room(Channel::Ours(1)) as u64;
        if room == 0 || self.over {
            return;
        }
        let count = room.min(*size - *sent).min(1024);
        self.protocol.send_data(Channel::Ours(1), *sent, &vec![b'x'; count as usize]);
        *sent += count;
        if count == 0 {
            self.sending = None;
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = Now { instant: self.now.instant + time, wall: self.now.wall + time };
        if self.protocol.poll_timeout().is_some_and(|at| at <= self.now.instant) {
            self.protocol.handle_timeout(self.now);
            self.drain(0);
        }
        self.speak();
    }

    /// Nobody says anything more. The end must come, and soon: a peer must not hold a line for ever.
    fn fall_silent(&mut self) {
        let begun = self.now.instant;
        for _ in 0..5000 {
            if self.over {
                return;
            }
            self.speak();
            let Some(at) = self.protocol.poll_timeout() else {
                assert!(self.over, "it waits without a deadline");
                return;
            };
            self.pass(at.since(self.now.instant));
            let waited = self.now.instant.since(begun);
            assert!(waited < Duration::from_secs(3600), "it waits for a peer that is silent: {waited:?}");
        }
        assert!(self.over, "time-outs without an end");
    }
}

/// A packet of g or i that is well formed, so that what lies behind the parsers is reached.
fn good_packet(letter: char, source: &mut Source<'_>, out: &mut Vec<u8>) {
    let [kind, a, b] = [source.byte(), source.byte(), source.byte()];
    let length = usize::from(source.byte());
    let bytes = source.take(length);
    if matches!(letter, 'g' | 'G' | 'v') {
        let control = match kind % 12 {
            0 => Control::Close,
            1 => Control::Reject(a),
            2 => Control::RejectOne(a),
            3 | 4 => Control::Ready(a),
            5 => Control::InitA(a),
            6 => Control::InitB(a % 3),
            7 => Control::InitC(a),
            _ => {
                let field = bytes.len().next_power_of_two().clamp(32, G_FIELD_MAX);
                write_g_data(a, b, bytes, field, out);
                return;
            }
        };
        write_g_control(control, out);
    } else {
        let numbers = (a & 0x1f, b & 0x1f);
        let (local, remote) = (a >> 5, b >> 5);
        let caller = kind & 0x80 != 0;
        let kind = IKind::from(kind & 7);
        let packet =
            IPacket { kind, number: numbers.0, local, acknowledged: numbers.1, remote, caller, data: bytes.to_vec() };
        write_i(&packet, out);
    }
}

/// One protocol among bytes, time-outs and an owner who sends and receives. The first three bytes: the letter by its place in the
/// table; who calls, half duplex, and a peer of ours; window and packet size.
pub fn protocol(bytes: &[u8]) {
    let mut source = Source(bytes);
    let [letter, caller, size] = [source.byte(), source.byte(), source.byte()];
    let entry = &PROTOCOLS[usize::from(letter) % PROTOCOLS.len()];
    let facts = Facts { full_duplex: caller & 2 == 0, peer_is_ours: caller & 4 != 0, ..Facts::serial("fuzz", 9600) };
    let (window, packet_size) = (Some(1 + size % 7), Some(32 << (size / 7 % 6)));
    let parameters = Settings { window, packet_size, ..Settings::default() }.on(entry.letter, &facts);
    let start = Start { caller: caller & 1 != 0, facts, parameters };
    let protocol = (entry.make)(start);
    let now = Now::default();
    let mut owner = Owner { protocol, now, started: false, over: false, sending: None, receiving: false };
    owner.speak();
    while !source.0.is_empty() && !owner.over {
        match source.byte() % 16 {
            0..=7 => {
                let count = usize::from(source.byte());
                owner.hear(source.take(count));
            }
            8..=11 => {
                let mut packet = Vec::new();
                good_packet(entry.letter, &mut source, &mut packet);
                owner.hear(&packet);
            }
            12 => owner.pass(Duration::from_millis(100 * u64::from(source.byte()))),
            13 if owner.started && owner.sending.is_none() && !owner.receiving => {
                owner.protocol.send_command(Channel::Ours(1), b"S file");
                let size = u64::from(source.byte()) * 50;
                owner.protocol.begin_file(Channel::Ours(1), Way::Out { bytes: size });
                owner.sending = Some((0, size));
                owner.speak();
            }
            14 if owner.started => {
                let count = usize::from(source.byte());
                owner.protocol.send_command(Channel::Ours(1), &vec![b'c'; 1 + count]);
                owner.speak();
            }
            15 if owner.started && source.byte() == 0 => {
                owner.protocol.shut_down(owner.now);
                owner.speak();
            }
            _ => owner.speak(),
        }
    }
    owner.fall_silent();
}
