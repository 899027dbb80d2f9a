//! Bodies: the bytes of messages, articles and files, kept once and counted.

use std::io;

use super::{Change, StoreError, View};

/// Names a body in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyId(pub i64);

/// A body being written; nothing of it survives unless `Change::keep` takes it. Implements `io::Write`.
pub struct Draft {}

impl Draft {
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads back from `offset`.
    pub fn read_at(&self, _offset: u64, _out: &mut [u8]) -> io::Result<usize> {
        unimplemented!()
    }
}

impl io::Write for Draft {
    fn write(&mut self, _buf: &[u8]) -> io::Result<usize> {
        unimplemented!()
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A kept body, open for reading; stays readable after the transaction and after its item is gone.
pub struct Body {}

impl Body {
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills `out` from `offset`; fewer bytes only at the end.
    pub fn read_at(&self, _offset: u64, _out: &mut [u8]) -> io::Result<usize> {
        unimplemented!()
    }
    /// All of it, for what is known to be small enough; an error above `max`.
    pub fn bytes(&self, _max: u64) -> io::Result<Vec<u8>> {
        unimplemented!()
    }
}

impl View<'_> {
    pub fn body(&self, _id: BodyId) -> Result<Body, StoreError> {
        unimplemented!()
    }
}

impl Change<'_> {
    /// Makes a draft durable with this transaction. A file is synced first. The count starts at zero: whoever
    /// stores the id in an item, mailbox or article adds one (those functions do), and at zero again it goes.
    pub fn keep(&mut self, _draft: Draft) -> Result<BodyId, StoreError> {
        unimplemented!()
    }
    pub fn keep_bytes(&mut self, _bytes: &[u8]) -> Result<BodyId, StoreError> {
        unimplemented!()
    }
}
