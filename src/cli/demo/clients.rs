//! The clients of the demo: a mail program and a newsreader, or the world outside, over real sockets.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wire::text::DotWriter;

/// How long a server may think.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line-by-line conversation.
struct Talk {
    reader: BufReader<TcpStream>,
}

impl Talk {
    fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(format!("{line}\r\n").as_bytes())
    }

    /// A reply, of several lines where each but the last has a minus behind its number.
    fn hear(&mut self) -> io::Result<String> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let more = line.as_bytes().get(3) == Some(&b'-');
            text.push_str(line.trim_end());
            if !more {
                return Ok(text);
            }
            text.push(' ');
        }
    }

    fn ask(&mut self, line: &str) -> io::Result<String> {
        self.say(line)?;
        self.hear()
    }

    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(text.len() + 64);
        let mut dots = DotWriter::default();
        dots.push(text, &mut out);
        dots.finish(&mut out);
        self.reader.get_mut().write_all(&out)
    }
}

/// What a server said to a message: taken, or the reason why not.
pub type Answer = Result<(), String>;

/// A mail client.
pub struct Mailer(Talk);

impl Mailer {
    pub fn connect(address: &str) -> io::Result<Self> {
        let mut talk = Talk::connect(address)?;
        talk.hear()?;
        talk.ask("EHLO demo.example")?;
        Ok(Self(talk))
    }

    pub fn send(&mut self, from: &str, to: &str, message: &[u8]) -> io::Result<Answer> {
        for line in [format!("MAIL FROM:<{from}> BODY=8BITMIME"), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
            let reply = self.0.ask(&line)?;
            if !reply.starts_with(['2', '3']) {
                self.0.ask("RSET")?;
                return Ok(Err(reply));
            }
        }
        self.0.text(message)?;
        let reply = self.0.hear()?;
        Ok(if reply.starts_with('2') { Ok(()) } else { Err(reply) })
    }
}

/// A news client.
pub struct Poster(Talk);

impl Poster {
    pub fn connect(address: &str) -> io::Result<Self> {
        let mut talk = Talk::connect(address)?;
        talk.hear()?;
        Ok(Self(talk))
    }

    /// As a newsreader does.
    pub fn post(&mut self, article: &[u8]) -> io::Result<Answer> {
        self.transfer("POST", '3', article)
    }

    /// As a news server does.
    pub fn offer(&mut self, message_id: &str, article: &[u8]) -> io::Result<Answer> {
        self.transfer(&format!("IHAVE {message_id}"), '3', article)
    }

    fn transfer(&mut self, command: &str, go: char, article: &[u8]) -> io::Result<Answer> {
        let reply = self.0.ask(command)?;
        if !reply.starts_with(go) {
            return Ok(Err(reply));
        }
        self.0.text(article)?;
        let reply = self.0.hear()?;
        Ok(if reply.starts_with('2') { Ok(()) } else { Err(reply) })
    }
}
