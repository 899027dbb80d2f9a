//! A server of one serial port (RFC 2217), which does what it is asked and keeps what the line says.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PURGE: u8 = 12;
/// What a request takes, so that what is said after its answer is not heard together with that.
const TIME: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Port {
    /// What the line has said, of which a byte goes after each request, and the rest once nothing is asked.
    unread: VecDeque<u8>,
    asked: Vec<(u8, Vec<u8>)>,
}

/// Ends when nobody connects any more.
pub struct PortServer {
    pub address: String,
    port: Arc<Mutex<Port>>,
}

impl PortServer {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let port = Arc::new(Mutex::new(Port::default()));
        let served = Arc::clone(&port);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = serve(stream.expect("a client"), &served);
            }
        });
        Self { address, port }
    }

    /// The line says something.
    pub fn say(&self, words: &[u8]) {
        self.port.lock().expect("no panic").unread.extend(words);
    }

    /// What has been asked of the port: a number and its value.
    pub fn asked(&self) -> Vec<(u8, Vec<u8>)> {
        self.port.lock().expect("no panic").asked.clone()
    }
}

fn serve(mut stream: TcpStream, port: &Mutex<Port>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    let (mut command, mut bytes) = (Vec::new(), [0; 256]);
    loop {
        let count = match stream.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(_silence) => {
                let unread: Vec<u8> = port.lock().expect("no panic").unread.drain(..).collect();
                stream.write_all(&unread)?;
                continue;
            }
        };
        for byte in &bytes[..count] {
            command.push(*byte);
            match command[..] {
                [255, 250, .., 255, 240] => {
                    std::thread::sleep(TIME);
                    let (code, value) = (command[3], command[4..command.len() - 2].to_vec());
                    let mut port = port.lock().expect("no panic");
                    port.asked.push((code, value.clone()));
                    if code == PURGE {
                        port.unread.clear();
                    }
                    stream.write_all(&[&[255, 250, 44, code + 100], &value[..], &[255, 240]].concat())?;
                    stream.write_all(port.unread.pop_front().as_slice())?;
                }
                [255, 251, 44] => stream.write_all(&[255, 253, 44])?,
                [255] | [255, 250, ..] | [255, 251..=254] => continue,
                _ => {}
            }
            command.clear();
        }
    }
}
