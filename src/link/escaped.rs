//! A stream over telnet: its bytes are escaped, its negotiations answered.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Link;
use super::comport::{END_OF_BREAK, lock};
use super::telnet::{Speaks, Telnet};

/// Bytes taken from either side at once.
const STEP: usize = 4096;
/// As local lines do it.
const BREAK_TIME: Duration = Duration::from_millis(250);

/// Whoever reads also sends the answers: a driver does so nearly all the time.
struct Escaped {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    telnet: Arc<Mutex<Telnet>>,
    /// Data that nobody has read yet.
    ready: Vec<u8>,
    /// The first byte has told that it is no telnet: nothing stands between any more.
    plain: bool,
    end_of_break: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Escaped {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut telnet = lock(&self.telnet);
        if telnet.is_held() {
            // Whoever reads hears of the end of it, and wakes.
            return Poll::Pending;
        }
        while !telnet.out.is_empty() {
            let count = ready!(Pin::new(&mut self.writer).poll_write(cx, &telnet.out))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            telnet.out.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_break(&mut self, cx: &mut Context<'_>) {
        if self.end_of_break.is_none() && std::mem::take(&mut lock(&self.telnet).serial.in_break) {
            self.end_of_break = Some(Box::pin(tokio::time::sleep(BREAK_TIME)));
        }
        if let Some(end) = &mut self.end_of_break
            && end.as_mut().poll(cx).is_ready()
        {
            self.end_of_break = None;
            let (code, value) = END_OF_BREAK;
            lock(&self.telnet).request(code, &value);
        }
    }
}

impl AsyncRead for Escaped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.plain && this.ready.is_empty() {
            return Pin::new(&mut this.reader).poll_read(cx, buf);
        }
        loop {
            this.poll_break(cx);
            lock(&this.telnet).waker = Some(cx.waker().clone());
            // A peer that takes no answers gets no more of them.
            match this.poll_send(cx)? {
                Poll::Pending if lock(&this.telnet).is_overfull() => return Poll::Pending,
                Poll::Ready(()) | Poll::Pending => {}
            }
            if !this.ready.is_empty() {
                let count = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready[..count]);
                this.ready.drain(..count);
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; STEP];
            let mut raw = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.reader).poll_read(cx, &mut raw))?;
            if raw.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut telnet = lock(&this.telnet);
            let was_suspended = telnet.is_suspended();
            telnet.receive(raw.filled(), &mut this.ready);
            this.plain = telnet.is_plain();
            if was_suspended && !telnet.is_suspended() {
                // Whoever writes waits in the same task.
                cx.waker().wake_by_ref();
            }
        }
    }
}

impl AsyncWrite for Escaped {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        if this.plain {
            return Pin::new(&mut this.writer).poll_write(cx, buf);
        }
        let count = buf.len().min(STEP);
        {
            let mut telnet = lock(&this.telnet);
            if telnet.is_suspended() {
                return Poll::Pending;
            }
            telnet.send(&buf[..count]);
        }
        // What does not leave now goes with the next read, write or flush.
        match this.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.writer).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.writer).poll_shutdown(cx)
    }
}

impl Link {
    /// The same link over telnet, or over what its first byte will tell.
    pub fn over_telnet(self, speaks: Speaks) -> Self {
        if self.telnet.is_some() {
            return self;
        }
        let telnet = Arc::new(Mutex::new(Telnet::new(speaks)));
        let Self { reader, writer, .. } = self;
        let stream = Escaped {
            reader,
            writer,
            telnet: Arc::clone(&telnet),
            ready: Vec::new(),
            plain: false,
            end_of_break: None,
        };
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: Box::new(reader), writer: Box::new(writer), telnet: Some(telnet), ..self }
    }

    /// What the two ends have agreed on by now counts from now on.
    pub(super) fn note_agreement(&mut self) {
        let Some(telnet) = self.telnet.as_ref().filter(|_| self.lines.is_none()) else { return };
        let telnet = lock(telnet);
        if let Some(agreed) = telnet.is_eight_bit() {
            self.facts.eight_bit = agreed;
        }
        self.facts.speed = telnet.speed().or(self.facts.speed);
    }
}
